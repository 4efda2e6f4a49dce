"""Feeds damaged and hostile files to everything that reads files of others: docs/security.md.

    python scripts/fuzz.py --inputs 100000                       # all targets, an hour or so
    python scripts/fuzz.py --only history,card --inputs 20000 --seed 1
    python scripts/fuzz.py --only onnx --engine atheris          # guided by what code it reaches
    python scripts/fuzz.py --again build/fuzz/history-1a2b3c     # one input, with its traceback

Good files are changed at random, in their bytes and in what they say, and read as the program reads
them (`scripts/fuzz_targets.py`). Each target has processes of its own with a limit on memory;
opening a file outside of the target's folder to write, or one that lies beside it, is an error, and
so are starting a program, a connection and a pickle. What fails is kept in ``--out``. The last line
is ``{target: {inputs, taken, failures}}``. Atheris is no part of dgtl's requirements:
``pip install atheris``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import lzma
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz_targets import SCRIPT, TARGETS, attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzz_targets import Target

MEMORY_BYTES = 3 << 30
LONGEST_S = 30
BATCH = 2000
"""Inputs of one process, so that one that dies takes few along."""

WORDS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 2**31, 2**53 + 1, -(2**63), 2**64, 10**30, 1e308, -1e-308),
    *(float("nan"), float("inf"), 0.5, "", "x", "x" * 2000, "0.0", "\0", "\ud800", "../../canary"),
    *("/etc/passwd", SCRIPT, "$(touch canary)", "`id`", "ok", "invalid", "S", "SSRSRS", "cuda"),
    *([], {}, [[]], [0] * 100, [[0, 0], [1]], {"a": {"b": 1}}, [1, 2, 3, 4], "float32", "object"),
    *("1e999", 4294967296, 16777216, 720720, "tile", "check", "known", -0.0, ["x", 1, None]),
)
"""What a value is replaced by."""


def changed(target: Target, data: bytes, rng: random.Random) -> bytes:
    """A file after some random changes."""
    for _ in range(1 + min(int(rng.expovariate(0.7)), 8)):
        if target.kind != "bytes" and rng.random() < 0.7:
            data = CHANGES[target.kind](data, rng)
        else:
            data = _bytes(data, rng)
    return data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return rng.randbytes(rng.randrange(1, 64))
    at, n = rng.randrange(len(data)), 1 + min(int(rng.expovariate(0.2)), 400)
    kind = rng.randrange(6)
    if kind == 0:  # other bytes
        return data[:at] + rng.randbytes(n) + data[at + n :]
    if kind == 1:  # one bit
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 2:  # a piece is missing
        return data[:at] + data[at + n :]
    if kind == 3:  # a piece twice, or many times
        return data[:at] + data[at : at + n] * rng.choice((2, 2, 50)) + data[at + n :]
    if kind == 4:  # cut short
        return data[:at]
    number = rng.choice((0, 1, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**63 - 1))
    size = rng.choice((1, 2, 4, 8))
    return data[:at] + (number % 256**size).to_bytes(size, "little") + data[at + size :]


def _json(data: bytes, rng: random.Random) -> bytes:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, rng)
    return json.dumps(_value(content, rng)).encode()


def _lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return _bytes(data, rng)
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.1:
        del lines[at]
    elif kind < 0.2:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    else:
        lines[at] = _json(lines[at], rng) + b"\n"
    return b"".join(lines)


def _value(content: Any, rng: random.Random) -> Any:
    """JSON with one value changed, at any depth."""
    inside = isinstance(content, dict | list) and len(content) > 0
    if not inside or rng.random() < 0.1:
        if isinstance(content, int | float) and rng.random() < 0.5:
            return content * rng.choice((-1, 2, 1000, 1e9, 0.5))
        return rng.choice(WORDS)
    if isinstance(content, list):
        at = rng.randrange(len(content))
        if rng.random() < 0.1:
            return [*content[:at], *content[at + 1 :]]
        return [*content[:at], _value(content[at], rng), *content[at + 1 :]]
    name = rng.choice(list(content))
    if rng.random() < 0.1:
        return {key: value for key, value in content.items() if key != name}
    return {**content, name: _value(content[name], rng)}


def _zip(data: bytes, rng: random.Random) -> bytes:
    """An archive with one of its files changed: what it says is right then, and what it has not."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {member.filename: archive.read(member) for member in archive.infolist()}
    except Exception:
        return _bytes(data, rng)
    name = rng.choice(list(files))
    change = {".json": _json, ".npz": _zip}.get(Path(name).suffix, _bytes)
    files[name] = change(files[name], rng)
    if rng.random() < 0.05:
        files[rng.choice(("../canary", "/tmp/canary", "a/../../canary"))] = b"x"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _packed_lines(data: bytes, rng: random.Random) -> bytes:
    return _packed(data, rng, _lines)


def _packed_bytes(data: bytes, rng: random.Random) -> bytes:
    return _packed(data, rng, _bytes)


def _packed(
    data: bytes, rng: random.Random, change: Callable[[bytes, random.Random], bytes]
) -> bytes:
    """What is in an archive, changed."""
    archive: Any = gzip if data[:2] == b"\x1f\x8b" else lzma
    try:
        content = archive.decompress(data)
    except Exception:
        return _bytes(data, rng)
    return bytes(archive.compress(change(content, rng)))


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "json": _json,
    "lines": _lines,
    "zip": _zip,
    "packed_lines": _packed_lines,
    "packed_bytes": _packed_bytes,
}


GUARDED = [False]
"""Whether the hook of `guard`, which cannot be removed, is at work."""


class Forbidden(BaseException):
    """A reader did what no reader may; no `except Exception` hides it."""


def guard(folder: Path, out: Path) -> None:
    """Where `GUARDED`, this process writes in these folders only, and starts nothing."""
    inside = str(folder.resolve())
    above = str(folder.resolve().parent)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    allowed = (inside + os.sep, f"{out.resolve()}{os.sep}", "/dev/null", "/dev/shm/")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not GUARDED[0]:
            return
        if event in ("os.system", "os.exec", "os.posix_spawn", "socket.connect"):
            raise Forbidden(f"{event} {arguments}")
        if event in ("subprocess.Popen", "pickle.find_class"):
            raise Forbidden(f"{event} {arguments}")
        names = {"open": 1, "os.remove": 1, "os.mkdir": 1, "os.rename": 2, "os.symlink": 2}
        for name in arguments[: names.get(event, 0)]:
            if not isinstance(name, str | bytes):
                continue
            relative = not Path(os.fsdecode(name)).is_absolute()
            if event != "open" and relative and arguments[-1] != -1:
                continue  # within an open folder, as `shutil.rmtree` goes about it
            path = os.path.realpath(os.fsdecode(name))
            changes = event != "open" or bool(arguments[2] & writing)
            beside = path.startswith(above + os.sep) and not path.startswith(inside)
            if beside or (changes and path != inside and not path.startswith(allowed)):
                raise Forbidden(f"{event} {path}")

    sys.addaudithook(hook)


def fuzz(name: str, inputs: int, seed: int, out: Path) -> dict[str, int]:
    """So many inputs for one target, in this process."""
    target, rng = TARGETS[name], random.Random(f"{name} {seed}")
    corpus = list(target.seeds())
    counts = {"inputs": 0, "taken": 0, "failures": 0}
    with tempfile.TemporaryDirectory(prefix="dgtl-fuzz-") as where:
        (Path(where) / "canary").write_text("beside the folder")
        work = Path(where) / "work"
        work.mkdir()
        folder = _prepared(target, work, out)
        for _ in range(inputs):
            data = changed(target, rng.choice(corpus), rng)
            try:
                taken = _limited(target, folder, data)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                counts["failures"] += 1
                _keep(out, name, data, error)
            else:
                counts["taken"] += taken
                if taken and len(corpus) < 200:
                    corpus.append(data)  # what is still good is worth changing further
            counts["inputs"] += 1
    return counts


def _prepared(target: Target, work: Path, out: Path) -> Path:
    """Reads every seed, so that all is imported, and shuts the process in."""
    tempfile.tempdir = str(work)
    for data in target.seeds():
        if not attempt(target, work / "input", data):
            raise SystemExit("a good file is refused")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    guard(work, out)
    return work / "input"


def _limited(target: Target, folder: Path, data: bytes) -> bool:
    def over(*_: object) -> None:
        raise Forbidden(f"takes longer than {LONGEST_S} s")

    signal.signal(signal.SIGALRM, over)
    signal.alarm(LONGEST_S)
    GUARDED[0] = True
    try:
        return attempt(target, folder, data)
    finally:
        GUARDED[0] = False
        signal.alarm(0)


def _keep(out: Path, name: str, data: bytes, error: BaseException) -> None:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}"
    digest = hashlib.sha256(where.encode()).hexdigest()[:6]
    path = out / f"{name}-{digest}"
    if not path.exists():  # one of each kind
        path.write_bytes(data)
        print(f"{path}: {where}: {str(error)[:200]}", file=sys.stderr, flush=True)


def fuzz_guided(name: str, inputs: int, seed: int, out: Path) -> None:
    """As `fuzz`, with libFuzzer choosing what to change; ends the process."""
    import atheris

    target = TARGETS[name]
    corpus = out / f"{name}-corpus"
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(data)
    where = Path(tempfile.mkdtemp(prefix="dgtl-fuzz-")) / "work"
    where.mkdir()
    folder = _prepared(target, where, out)
    atheris.instrument_all()

    def one(data: bytes) -> None:
        try:
            _limited(target, folder, data)
        except (Exception, Forbidden) as error:
            _keep(out, name, data, error)

    def change(data: bytes, most: int, seed: int) -> bytes:
        if seed % 3 == 0:
            return atheris.Mutate(data, most)
        return changed(target, data, random.Random(seed))[:most]

    options = [f"-runs={inputs}", f"-seed={seed + 1}", "-max_len=1000000", "-print_final_stats=1"]
    options += [f"-timeout={LONGEST_S}", f"-artifact_prefix={out}/{name}-", "-rss_limit_mb=3000"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=change)
    atheris.Fuzz()


def in_processes(name: str, inputs: int, seed: int, out: Path) -> dict[str, int]:
    """So many inputs for one target, some thousand to a process; one that dies is a failure."""
    counts = {"inputs": 0, "taken": 0, "failures": 0}
    for begin in range(0, inputs, BATCH):
        number = seed * 1000 + begin // BATCH
        n = min(BATCH, inputs - begin)
        command = [sys.executable, __file__, "--one", name, "--inputs", str(n)]
        command += ["--seed", str(number), "--out", str(out)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            print(f"{name}: its process died ({done.returncode}), seed {number}", file=sys.stderr)
            counts["failures"] += 1
            counts["inputs"] += n
            continue
        for key, value in json.loads(done.stdout.splitlines()[-1]).items():
            counts[key] += value
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--engine", choices=("random", "atheris"), default="random")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--again", type=Path, help="an input that failed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.again is not None:
        target = TARGETS[args.again.name.split("-")[0]]
        with tempfile.TemporaryDirectory() as where:
            print(attempt(target, Path(where) / "input", args.again.read_bytes()))
        return
    if args.one is not None:
        if args.engine == "atheris":
            fuzz_guided(args.one, args.inputs, args.seed, args.out)
        print(json.dumps(fuzz(args.one, args.inputs, args.seed, args.out)))
        return
    names = args.only.split(",") if args.only else list(TARGETS)
    shares = {name: TARGETS[name].share for name in names}
    results = {}
    for name in names:
        inputs = max(round(args.inputs * shares[name] / sum(shares.values())), 1)
        if args.engine == "atheris":
            command = [sys.executable, __file__, "--one", name, "--engine", "atheris"]
            command += ["--inputs", str(inputs), "--seed", str(args.seed), "--out", str(args.out)]
            code = subprocess.run(command, check=False).returncode
            results[name] = {"inputs": inputs, "taken": 0, "failures": int(code != 0)}
        else:
            results[name] = in_processes(name, inputs, args.seed, args.out)
        print(f"{name}: {results[name]}", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
