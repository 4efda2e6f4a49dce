"""Breaks runs on purpose, and counts what that costs: the table of docs/reliability.md.

    python scripts/faults.py --out build/faults             # an hour on two cores
    python scripts/faults.py --only run_killed,disk_full --runs 3

Each fault is put into real runs of a tiny network (`scripts/faulty_run.py`), or into searches of
recorded tables, which are compared with one that was left alone. A run survives if it, or the same
command given again, ends well, with every trial there once; a trial is lost if it was kept before
the fault and is not there after. The last line is ``{fault: {runs, survived, trials_lost}}``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from faulty_farm import Farm

from dgtl.core.history import History, TrialLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dgtl.core.records import Trial

ROOT = Path(__file__).parents[1]
TRIALS, TASKS = 20, 1

LIVE = (
    *("model=random", "workload=tiny", "workload.tasks=[conv 3x3]", "tracking=disabled"),
    *(f"budget.trials={TRIALS}", "history.max_trials=64", "deploy.allow_untuned=true"),
    *("measure.min_repeat_ms=1", "measure.throttle_wait_s=0"),
    *("measure.build_timeout_s=30", "measure.run_timeout_s=30"),
)
"""A run of half a minute or less."""

IMPATIENT = ("measure.build_timeout_s=8", "measure.run_timeout_s=4")
"""For candidates that never end."""

REPLAY = (
    *("model=autotvm", "hardware=replay", "workload=tables", "tracking=disabled"),
    *("workload.networks=[alexnet]", "budget.trials=64", "budget.batch=16"),
)
"""A search of recorded tables, in simulated time."""

LONGEST_S = 600.0


@dataclasses.dataclass
class Outcome:
    """What became of the runs of one fault."""

    runs: int = 0
    survived: int = 0
    trials_lost: int = 0
    note: str = ""

    def add(self, survived: bool, lost: int = 0) -> None:
        self.runs += 1
        self.survived += survived
        self.trials_lost += lost
        print(self, file=sys.stderr, flush=True)


@dataclasses.dataclass
class Faults:
    """The faults, one method each.

    Args:
        out: an empty folder.
        runs: how often each is tried at most; what takes long is tried less often.
        rng: of moments.
    """

    out: Path
    runs: int
    rng: random.Random

    def run_killed(self) -> Outcome:
        """kill -9 of the run, somewhere between two trials or in one"""
        outcome = Outcome()
        for folder in self._folders("run_killed"):
            process = start(LIVE, folder)
            self._wait(process, folder, self.rng.randrange(TRIALS * TASKS))
            kept = self._kill(process, folder)
            outcome.add(*judged(run(LIVE, folder), folder, kept))
        return outcome

    def run_killed_often(self) -> Outcome:
        """kill -9 of the run again and again, until it comes to its end"""
        outcome = Outcome()
        folder = next(self._folders("run_killed_often"))
        kept: Counter[str] = Counter()
        code = None
        while code is None:
            process = start(LIVE, folder)
            code = self._wait(process, folder, len(trials(folder)) + 8)
            kept |= self._kill(process, folder)
            outcome.runs += 1
        survived, lost = judged(code, folder, kept)
        return Outcome(outcome.runs, outcome.runs if survived else 0, lost)

    def replay_killed(self) -> Outcome:
        """kill -9 of a search of tables: the resumed one equals the uninterrupted one"""
        whole = self.out / "replay" / "whole"
        run(REPLAY, whole)
        expected, outcome = [comparable(t) for t in trials(whole)], Outcome()
        for folder in self._folders("replay_killed", most=10):
            process = start(REPLAY, folder)
            self._wait(process, folder, self.rng.randrange(len(expected)))
            kept = self._kill(process, folder)
            code = run(REPLAY, folder)
            found = [comparable(t) for t in trials(folder)]
            outcome.add(code == 0 and found == expected, lost(kept, folder))
        return outcome

    def workers_killed(self) -> Outcome:
        """kill -9 of a builder or of the runner, whichever, every three seconds"""
        outcome = Outcome()
        for folder in self._folders("workers_killed", most=6):
            process = start(LIVE, folder)
            while process.poll() is None:
                time.sleep(self.rng.uniform(2.0, 4.0))
                with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                    self.rng.choice(workers_of(process.pid)).kill()
            outcome.add(*judged(process.returncode, folder))
        return outcome

    def builder_killed(self) -> Outcome:
        """kill -9 of a builder in the middle of a build, of every fourth candidate"""
        return self._planted("builder_killed", failing=False)

    def runner_killed(self) -> Outcome:
        """kill -9 of the runner between two timings, of every fourth candidate"""
        return self._planted("runner_killed", failing=False)

    def builder_hangs(self) -> Outcome:
        """a build that never ends, in native code, of every fourth candidate"""
        return self._planted("builder_hangs")

    def builder_stops(self) -> Outcome:
        """a builder that is stopped (SIGSTOP), at every fourth candidate"""
        return self._planted("builder_stops")

    def candidate_crashes(self) -> Outcome:
        """every fourth candidate crashes"""
        return self._planted("candidate_crashes")

    def candidate_allocates(self) -> Outcome:
        """every fourth candidate allocates and fills memory without end"""
        return self._planted("candidate_allocates")

    def candidate_prints(self) -> Outcome:
        """every fourth candidate prints without end"""
        return self._planted("candidate_prints")

    def candidate_hangs(self) -> Outcome:
        """every fourth candidate never returns"""
        return self._planted("candidate_hangs")

    def clock_jumps(self) -> Outcome:
        """the clock jumps by up to a year, forth and back, whenever it is asked"""
        return self._planted("clock_jumps", failing=False)

    def disk_full(self) -> Outcome:
        """the disk is full somewhere in the run; there is room again when it is started again"""
        outcome = Outcome()
        for folder in self._folders("disk_full", most=8):
            kib = self.rng.randrange(48, 140, 4)
            done = in_small_disk(LIVE, folder, kib)
            if done is None:
                outcome.note = "by RLIMIT_FSIZE, for want of a file system of its own"
                done = start(LIVE, folder, file_kib=self.rng.randrange(4, 28)).wait()
            kept = kept_in(folder)
            outcome.add(*judged(run(LIVE, folder), folder, kept))
            if done not in (0, 1):
                outcome.survived -= 1
        return outcome

    def history_cut(self) -> Outcome:
        """the last line of a history ends after any of its bytes; it is read, and appended to"""
        folder = self.out / "history_cut"
        folder.mkdir(parents=True)
        whole = self._some_log()
        content = whole.read_bytes()
        before = list(History.read(whole))
        last = before[-1].trials[-1]
        begin = content.rstrip(b"\n").rfind(b"\n") + 1
        outcome = Outcome()
        for cut in range(begin, len(content) + 1):
            path = folder / "trials.jsonl"
            path.write_bytes(content[:cut])
            with warnings.catch_warnings(action="ignore"):
                kept = configs(History.read(path))
                with TrialLog(path) as log:
                    if last.config not in kept:
                        log.trial(last)
                found = configs(History.read(path))
            missing = kept - found
            outcome.add(found == configs(History.read(whole)), missing.total())
        return outcome

    def two_runs(self) -> Outcome:
        """two runs in one folder at the same time: the second is refused, the first goes on"""
        outcome = Outcome()
        for folder in self._folders("two_runs", most=3):
            first = start(LIVE, folder)
            self._wait(first, folder, self.rng.randrange(TRIALS * TASKS // 2))
            # As of another container: on one machine it is refused before it looks at the folder.
            second = start(LIVE, folder, lock="another")
            refused = second.wait() == 1
            said = (folder.parent / f"{folder.name}.log").read_text()
            survived, gone = judged(first.wait(), folder)
            kept_out = refused and "another run is at work" in said
            outcome.add(survived and (kept_out or "already complete" in said), gone)
        return outcome

    def server_killed(self) -> Outcome:
        """kill -9 of one of two RPC servers, which does not come back"""
        return self._farmed("server_killed", 2, lambda farm: farm.kill_server())

    def last_server_killed(self) -> Outcome:
        """kill -9 of the only RPC server; another joins five seconds later"""

        def fault(farm: Farm) -> None:
            farm.kill_server()
            time.sleep(5.0)
            farm.start_server()

        return self._farmed("last_server_killed", 1, fault)

    def tracker_killed(self) -> Outcome:
        """kill -9 of the RPC tracker; it is started again five seconds later"""

        def fault(farm: Farm) -> None:
            farm.kill_tracker()
            time.sleep(5.0)
            farm.start_tracker()

        return self._farmed("tracker_killed", 2, fault)

    def _farmed(self, name: str, servers: int, fault: Callable[[Farm], None]) -> Outcome:
        """Runs over RPC; the fault comes somewhere in their trials."""
        outcome = Outcome()
        for folder in self._folders(name, most=5):
            with Farm(servers, folder.parent / f"{folder.name}-farm.log") as farm:
                process = start((*LIVE, *farm.arguments), folder)
                self._wait(process, folder, self.rng.randrange(TRIALS * TASKS))
                kept = kept_in(folder)
                fault(farm)
                outcome.add(*judged(process.wait(), folder, kept))
        return outcome

    def _planted(self, fault: str, *, failing: bool = True) -> Outcome:
        outcome = Outcome()
        for folder in self._folders(fault, most=2):
            marks = folder.parent / f"{folder.name}-marks"
            marks.mkdir()
            arguments = (*LIVE, *IMPATIENT) if failing else LIVE
            code = start(arguments, folder, fault=(fault, str(marks))).wait()
            survived, gone = judged(code, folder)
            failed = sum(not trial.ok for trial in trials(folder))
            outcome.add(survived and (failed > 0) == failing, gone)
            outcome.note = f"{failed} of {TRIALS * TASKS} trials failed" if failing else ""
        return outcome

    def _some_log(self) -> Path:
        folder = self.out / "whole"
        if not folder.exists():
            run(LIVE, folder)
        return folder / "trials.jsonl"

    def _folders(self, name: str, most: int = 1000) -> Iterator[Path]:
        for number in range(min(self.runs, most)):
            folder = self.out / name / str(number)
            folder.parent.mkdir(parents=True, exist_ok=True)
            yield folder

    def _wait(self, process: subprocess.Popen, folder: Path, number: int) -> int | None:
        """Waits for so many trials, and up to a second more; the exit code if the run is over."""
        begin = time.monotonic()
        while len(trials(folder)) < number and process.poll() is None:
            time.sleep(0.02)
            if time.monotonic() - begin > LONGEST_S:
                break
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.rng.uniform(0.0, 1.0))
        return process.poll()

    def _kill(self, process: subprocess.Popen, folder: Path) -> Counter[str]:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return kept_in(folder)


def start(
    arguments: Sequence[str],
    folder: Path,
    *,
    fault: tuple[str, str] | None = None,
    file_kib: int | None = None,
    lock: str = "lock",
) -> subprocess.Popen:
    """Starts a run in a folder; what it says is added to a file beside it.

    Args:
        arguments: of ``run.py``.
        folder: of the run.
        fault: planted, with the folder of its marks.
        file_kib: size that no file may exceed.
        lock: name of the file that runs of one machine lock.
    """
    program = ["run.py"] if fault is None else ["scripts/faulty_run.py", *fault]
    command = [sys.executable, *program, *arguments, f"hydra.run.dir={folder.resolve()}"]
    command.append(f"cache={folder.resolve().parent / 'models'}")
    if file_kib is not None:
        command = ["bash", "-c", f'ulimit -f {file_kib}; exec "$@"', "_", *command]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.log").open("ab") as said:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=said, stderr=said, env=environment(folder, lock)
        )


def environment(folder: Path, lock: str = "lock") -> dict[str, str]:
    """That of a run: temporary files of its own; what else measures here need not end for it."""
    scratch = folder.resolve().parent / "tmp"
    scratch.mkdir(exist_ok=True)
    own = {"TMPDIR": str(scratch), "DGTL_LOCK": str(scratch / lock)}
    return {**os.environ, "PYTHONPATH": str(ROOT), **own}


def run(arguments: Sequence[str], folder: Path) -> int:
    """Runs to the end; the exit code."""
    return start(arguments, folder).wait()


def in_small_disk(arguments: Sequence[str], folder: Path, kib: int) -> int | None:
    """A run in a file system of so many KiB, and what is there then in ``folder``.

    Returns:
        The exit code; None where no such file system can be made.
    """
    small = folder.parent / f"{folder.name}-small"
    small.mkdir()
    inside = small.resolve() / "run"
    command = [sys.executable, "run.py", *arguments, f"hydra.run.dir={inside}"]
    command.append(f"cache={folder.resolve().parent / 'models'}")
    script = (
        f'mount -t tmpfs -o size={kib}k none "{small.resolve()}" || exit 99; "$@"; code=$?; '
        f'cp -a "{inside}" "{folder.resolve()}"; exit $code'
    )
    with (folder.parent / f"{folder.name}.log").open("ab") as said:
        done = subprocess.run(
            ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "_", *command],
            cwd=ROOT,
            stdout=said,
            stderr=said,
            env=environment(folder),
            check=False,
        )
    return None if done.returncode in (1, 99) and not folder.exists() else done.returncode


def trials(folder: Path) -> list[Trial]:
    """The trials that a folder holds now."""
    path = folder / "trials.jsonl"
    if not path.exists():
        return []
    with warnings.catch_warnings(action="ignore"):
        return [trial for source in History.read(path) for trial in source.trials]


def kept_in(folder: Path) -> Counter[str]:
    """How often each configuration of each task is there."""
    return Counter(f"{trial.task} {trial.config}" for trial in trials(folder))


def configs(history: History) -> Counter[str]:
    """How often each configuration of a history is there."""
    return Counter(trial.config for source in history for trial in source.trials)


def lost(kept: Counter[str], folder: Path) -> int:
    """Trials that were kept and are not there any more."""
    return (kept - kept_in(folder)).total()


def judged(code: int, folder: Path, kept: Counter[str] | None = None) -> tuple[bool, int]:
    """Whether a run survived: it ended well, with as many trials as asked for, each once."""
    found = kept_in(folder)
    each_once = set(found.values()) == {1} and found.total() == TRIALS * TASKS
    return code == 0 and each_once, lost(kept or Counter(), folder)


def comparable(trial: Trial) -> Trial:
    """A trial without the seconds that proposing it took."""
    return trial.replace(model_s=0.0)


def workers_of(pid: int) -> list[psutil.Process]:
    """The worker processes of a run."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if "tvm.exec.popen_worker" in child.cmdline()]


def main() -> None:
    names = [name for name in vars(Faults) if not name.startswith("_") and name not in FIELDS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/faults"))
    parser.add_argument(
        "--runs", type=int, default=20, help="of a fault at most, fewer of the long ones"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", help=f"some of {','.join(names)}")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    faults = Faults(args.out, args.runs, random.Random(args.seed))
    results: dict[str, dict[str, int]] = {}
    print("| fault | runs | survived | trials lost |\n|---|---|---|---|", flush=True)
    for name in args.only.split(",") if args.only else names:
        method: Callable[[], Outcome] = getattr(faults, name)
        outcome = method()
        what = f"{method.__doc__}{f' ({outcome.note})' if outcome.note else ''}"
        print(
            f"| {what} | {outcome.runs} | {outcome.survived} | {outcome.trials_lost} |", flush=True
        )
        counts = dataclasses.asdict(outcome)
        counts.pop("note")
        results[name] = counts
    print(json.dumps(results))


FIELDS = {field.name for field in dataclasses.fields(Faults)}


if __name__ == "__main__":
    main()
