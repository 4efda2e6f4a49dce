"""One start of this program: runs what of a folder has no result yet."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from typing import TYPE_CHECKING, Any

from .driver import Monitor, look
from .errors import KernelError, RefusedError, Stopped
from .folder import Kernel, Network, Pack, Visit, temporary_folder, unpack, verify
from .process import Runner
from .results import Results
from .runtime import find_runtime
from .values import NETWORK_WRONG_ABOVE, wrong_above

if TYPE_CHECKING:
    from pathlib import Path

MARGIN_S = 2.0
"""So much longer than ``run_timeout_s`` a worker may take: it loads libraries and fills buffers."""
NETWORK_TIMEOUT_S = 600.0


@dataclasses.dataclass
class Trial:
    """A kernel on its way through the passes, or after."""

    kernel: Kernel
    status: str = "ok"
    times_s: list[float] = dataclasses.field(default_factory=list)
    quick: bool = False
    run_s: float = 0.0
    error: str = ""
    condition: dict[str, Any] = dataclasses.field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        values = {
            name: getattr(self, name) for name in ("status", "times_s", "quick", "run_s", "error")
        }
        return {"type": "kernel", "id": self.kernel.id, **values, **self.condition}


class Session:
    """One start of this program: a folder, its results so far, a worker."""

    def __init__(self, visit: Visit, results: Results, runner: Runner, monitor: Monitor):
        self._visit, self._results = visit, results
        self._runner, self._monitor = runner, monitor
        self._timeout_s = visit.options["run_timeout_s"] + MARGIN_S

    def pack(self, pack: Pack, folder: Path) -> str:
        """Runs what of a pack has no result yet; a line of what came out.

        One timing of each kernel per pass: other users of a machine come in bursts, which would
        spoil all timings of a kernel that are made in one go.
        """
        options, done = self._visit.options, self._results.done
        with temporary_folder() as where:
            unpack(folder, pack, where)
            kernels = [kernel for kernel in pack.kernels if kernel.id not in done]
            self._results.append(*[self._check(k, where) for k in kernels if k.check])
            trials = [Trial(k) for k in kernels if not k.check]
            times_s = [t for id in pack.ids for t in done.get(id, {}).get("times_s", [])]
            best_s = min([math.inf if pack.best_s is None else pack.best_s, *times_s])
            try:
                for number in range(int(options["repeats"])):
                    for trial in trials:
                        if trial.status == "ok" and not trial.quick:
                            self._time(trial, number, best_s, where)
                            best_s = min([best_s, *trial.times_s])
                    for trial in trials if number == 0 else ():
                        slowest_s = options["quick_factor"] * best_s
                        trial.quick |= any(t > slowest_s for t in trial.times_s)
                with contextlib.suppress(KernelError):
                    self._runner.ask("unload", self._timeout_s)
            except RefusedError:
                # The device is gone, perhaps through one of those that failed: not again.
                self._results.append(*[t.record() for t in trials if t.status != "ok"])
                raise
            self._results.append(*[trial.record() for trial in trials])
        failed = sum(done[id]["status"] != "ok" for id in pack.ids)
        times_s = [statistics.median(t) for id in pack.ids if (t := done[id].get("times_s"))]
        best = f"best {min(times_s) * 1e3:.4g} ms" if times_s else "none timed"
        return f"{len(pack.ids)} kernels, {failed} failed, {best}"

    def _time(self, trial: Trial, number: int, best_s: float, where: Path) -> None:
        """One more timing of a kernel, or the failure that ends its trial."""
        begin = time.perf_counter()
        options = self._visit.options
        first = {"quick_above_s": options["quick_factor"] * best_s} if number == 0 else {}
        try:
            answer = self._runner.ask(
                "next" if number else "first",
                self._timeout_s,
                library=str(where / trial.kernel.library),
                cubins=_placed(trial.kernel.cubins, where),
                tensors=trial.kernel.tensors,
                options=options,
                **first,
            )
        except KernelError as error:
            trial.status, trial.error, trial.times_s = error.status, str(error), []
        else:
            trial.times_s.append(answer["seconds"])
            trial.quick = answer["quick"]
        trial.run_s += time.perf_counter() - begin
        throttled = trial.condition.get("throttled")
        trial.condition = self._monitor.now()
        if throttled:
            trial.condition["throttled"] = True

    def _check(self, kernel: Kernel, where: Path) -> dict[str, Any]:
        assert kernel.check is not None
        return self._judged(
            {"type": "check", "id": kernel.id},
            wrong_above(kernel.tensors),
            do="check",
            timeout_s=self._timeout_s,
            library=str(where / kernel.library),
            cubins=_placed(kernel.cubins, where),
            tensors=kernel.tensors,
            seed=kernel.check["seed"],
            expected=str(where / kernel.check["expected"]),
        )

    def network(self, network: Network, folder: Path) -> str:
        """Runs a network; a line of what came out."""
        record = self._judged(
            {"type": "network", "id": network.id, "times_s": []},
            NETWORK_WRONG_ABOVE,
            do="network",
            timeout_s=NETWORK_TIMEOUT_S,
            library=str(folder / network.file),
            cubins=_placed({key: file for key, (file, _) in network.cubins.items()}, folder),
            inputs=str(folder / network.inputs),
            repeats=network.repeats,
        )
        self._results.append(record)
        if record["status"] != "ok":
            return f"{record['status']}: {record['error']}"
        return f"{statistics.median(record['times_s']) * 1e3:.4g} ms"

    def _judged(self, record: dict[str, Any], wrong_above: float, **request: Any) -> dict[str, Any]:
        record |= {"status": "ok", "relative_error": None, "error": ""}
        try:
            record |= self._runner.ask(**request)
        except KernelError as failure:
            record |= {"status": failure.status, "error": str(failure)}
        else:
            if record["relative_error"] > wrong_above:
                error = f"relative error {record['relative_error']:.2g}"
                record |= {"status": "wrong_result", "error": error}
        return record


def run(folder: Path, runtime: str | None, seconds: float) -> int:
    """Runs what has no result yet; the exit code."""
    begin = time.monotonic()
    visit = Visit(folder)
    with contextlib.closing(Results(folder, visit.id)) as results:
        return _run(folder, visit, results, runtime, begin + seconds)


def _run(folder: Path, visit: Visit, results: Results, runtime: str | None, deadline: float) -> int:
    todo = [part for part in visit.parts if any(id not in results.done for id in part.ids)]
    for part in todo:  # before hours of measuring, not after
        verify(folder, part)
    runner = None
    try:
        if todo:
            facts, monitor = look(visit)
            runner = Runner(visit, find_runtime(folder, runtime, visit.kind))
            runner.start()
            results.append(facts)
            session = Session(visit, results, runner, monitor)
        for number, part in enumerate(todo, start=1):
            if time.monotonic() > deadline:
                print(f"time is over: {_progress(visit, results)}", flush=True)
                return 3
            if isinstance(part, Network):
                line = f"network: {session.network(part, folder)}"
            else:
                line = f"pack {number}/{len(todo)}: {session.pack(part, folder)}"
            print(line, flush=True)
    except Stopped:
        print(f"stopped: {_progress(visit, results)}", flush=True)
        raise
    finally:
        if runner is not None:
            runner.end()
    if not results.complete:
        results.append({"type": "done"})
    print("all done: copy the folder back and run the same run.py command again", flush=True)
    return 0


def _placed(cubins: dict[str, str], where: Path) -> dict[str, str]:
    return {source: str(where / file) for source, file in cubins.items()}


def _progress(visit: Visit, results: Results) -> str:
    return f"{len(results.done)} of {visit.count} done; the same command goes on"
