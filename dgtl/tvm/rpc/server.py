"""What runs on a device: TVM's RPC server, with dgtl's way to time, which outlives its kernels.

    python -m dgtl.tvm.rpc.server --tracker 192.168.0.1:9190 --key board --host 192.168.0.7

TVM's own server ends when a kernel kills its process; this one listens again. Each session is a
process of its own, forked from this one, in a folder of its own. What it offers beside TVM's
functions takes JSON and answers JSON: `FUNCTIONS`. TensorFlow is not needed here.

Whoever can reach a server can do on its machine what its user can: it listens on loopback unless
told otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import tvm
import tvm_ffi
from tvm.rpc import server as tvm_server

from dgtl.core.cores import available_cores
from dgtl.device.errors import last_line
from dgtl.device.values import error_of, random_values, unwritten
from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm import hardware
from dgtl.tvm.measure import workers
from dgtl.tvm.measure.limits import die_with_parent
from dgtl.tvm.measure.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = "dgtl.rpc."
"""Of the names of `FUNCTIONS` in a session."""

RESTART_S = 0.2
"""Between two starts of a server: none that ends at once may keep a core busy."""


def hello(num_threads: int | None) -> dict[str, Any]:
    """First of a session: what this device is; its kernels will use so many threads, or all."""
    cores = available_cores()
    threads = cores if num_threads is None else num_threads
    workers.start(threads)
    return {
        "name": hardware.cpu_name(),
        "mcpu": tvm.target.codegen.llvm_get_system_cpu(),
        "machine": platform.machine(),
        "cores": cores,
        "threads": threads,
        "versions": hardware.runtime_versions(),
    }


def timings(
    library: str, tensors: list, options: dict[str, float], quick_above_s: float
) -> dict[str, Any]:
    """Times a kernel as `dgtl.tvm.measure.local` does, but all its timings in one go."""
    limits = MeasureOptions(**options)  # type: ignore[arg-type]
    what = (str(Path(library).absolute()), [(tuple(shape), dtype) for shape, dtype in tensors])
    with _limited(limits.run_timeout_s):
        first = workers.first_timing(*what, limits, quick_above_s)
    times_s = [first.seconds]
    while not first.quick and len(times_s) < limits.repeats:
        with _limited(limits.run_timeout_s):
            times_s.append(workers.next_timing(*what, limits).seconds)
    workers.unload()
    Path(library).unlink()
    return {"times_s": times_s, "quick": first.quick}


def check(library: str, tensors: list, expected: str) -> dict[str, Any]:
    """Error of a kernel on seeded random inputs, at the elements that the file names."""
    rng = np.random.default_rng(workers.CHECK_SEED)
    inputs = [random_values(rng, tuple(shape), dtype) for shape, dtype in tensors[:-1]]
    output = tvm.runtime.tensor(unwritten(tuple(tensors[-1][0]), tensors[-1][1]))
    kernel = tvm.runtime.load_module(str(Path(library).absolute()))["main"]
    kernel(*map(tvm.runtime.tensor, inputs), output)
    with np.load(expected, allow_pickle=False) as file:
        actual = output.numpy().reshape(-1)[file["index"]]
        return {"relative_error": error_of(file["value"], actual, float(file["scale"]))}


def network(
    library: str, inputs: str, outputs: str, repeats: int, throttle_wait_s: float
) -> dict[str, Any]:
    """Run times [s] of a whole network on the arrays of a file; what it gives becomes another."""
    with np.load(inputs, allow_pickle=False) as file:
        values = [file[str(number)] for number in range(len(file.files))]
    path = str(Path(library).absolute())
    times_s, computed = workers.time_network(path, values, repeats, throttle_wait_s)
    with Path(outputs).open("wb") as out:
        np.savez(out, **{str(number): value for number, value in enumerate(computed)})
    return {"times_s": times_s}


FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "hello": hello,
    "timings": timings,
    "check": check,
    "network": network,
}


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Ends this process if it takes longer: nothing else stops a kernel."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answering(function: Callable[..., dict[str, Any]]) -> Callable[[str], str]:
    """The function as RPC carries it: what goes wrong in it is an answer, for it is no fault of
    the device."""

    def answer(request: str) -> str:
        try:
            return json.dumps(function(**json.loads(request)))
        except Exception as error:
            return json.dumps({"error": last_line(error)})

    return answer


@dataclasses.dataclass(frozen=True)
class Listen:
    """Where a server listens, and for whom.

    Args:
        tracker: host and port.
        key: under which the tracker gives it away.
        host: address to listen on.
        port: to listen on, or one of the next hundred.
        named: address by which others reach it, where that is not the one it calls the tracker
            from; None: that one.
    """

    tracker: tuple[str, int]
    key: str
    host: str = "127.0.0.1"
    port: int = 9090
    named: str | None = None


def serve(listen: Listen) -> None:
    """Serves until it is ended; SIGTERM and Ctrl-C end its sessions too."""
    for name, function in FUNCTIONS.items():
        tvm_ffi.register_global_func(PREFIX + name, _answering(function), override=True)
    os.register_at_fork(after_in_child=_begin_session)
    threading.excepthook = _say
    with Scratch() as scratch:
        tempfile.tempdir = str(scratch.folder)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: _end(scratch))
        port = listen.port
        while True:
            os.chdir(scratch.folder)
            state = tvm_server.PopenRPCServerState(
                listen.host,
                port,
                listen.port + 100,
                tracker_addr=listen.tracker,
                key=listen.key,
                custom_addr=listen.named,
                silent=True,
            )
            port = state.port
            print(f"serving {listen.key} on {listen.host}:{port}", flush=True)
            while state.thread.is_alive():
                state.thread.join(1.0)
            # A kernel killed its session, or the tracker cannot be reached.
            state.sock.close()
            time.sleep(RESTART_S)


def _begin_session() -> None:
    """In the process of a session: a kernel that hangs would let no handler of Python run."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal; the server sees to its end
    die_with_parent()


def _say(what: threading.ExceptHookArgs) -> None:
    print(f"a session ended: {what.exc_value}", file=sys.stderr, flush=True)


def _end(scratch: Scratch) -> None:
    """Ends the sessions and this process, whose listening thread nothing else would end."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    scratch.close()
    os._exit(0)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    found = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    found.add_argument("--tracker", required=True, metavar="HOST:PORT", help="to report to")
    found.add_argument("--key", required=True, help="of the kind of device")
    found.add_argument("--host", default=Listen.host, help="address to listen on (%(default)s)")
    found.add_argument("--port", type=int, default=Listen.port, help="or a later one (%(default)s)")
    found.add_argument("--named", metavar="HOST", help="address by which others reach it")
    found.add_argument("--cores", metavar="N,N,...", help="to use; all if left out")
    return found


def main() -> None:
    args = parser().parse_args()
    host, _, port = args.tracker.rpartition(":")
    if not host or not port.isdigit():
        sys.exit(f"error: --tracker {args.tracker}: write it as HOST:PORT")
    if args.cores is not None:
        try:
            os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
        except (ValueError, OSError) as error:
            sys.exit(f"error: --cores {args.cores}: {error}")
    try:
        serve(Listen((host, int(port)), args.key, args.host, args.port, args.named))
    except OSError as error:
        sys.exit(f"error: {args.host}:{args.port}: {error.strerror}")


if __name__ == "__main__":
    main()
