"""A tracker, servers and kernels that sleep, die or fail, for what runs on many devices."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from tvm.rpc.tracker import Tracker

from dgtl.measure.protocol import MeasureOptions
from dgtl.tvm.rpc.farm import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
KEY = "toy"

SOURCE = """
#include <unistd.h>
#include <cstdlib>
extern "C" int __tvm_ffi_main(void*, const void*, int, void*) {
  if (DIES) abort();
  usleep(SLEEP_MS * 1000);
  return 0;
}
"""
OPTIONS = MeasureOptions(repeats=1, min_repeat_ms=1e-3, cache_flush_mb=0, throttle_wait_s=0)


def kernel(path: Path, sleep_ms: int = 0, *, dies: bool = False) -> Path:
    """A library whose kernel takes any arguments, and sleeps or dies."""
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-o", str(path), "-"]
    command += [f"-DSLEEP_MS={sleep_ms}", f"-DDIES={int(dies)}"]
    subprocess.run(command, input=SOURCE, text=True, check=True)
    return path


def job(library: Path, limit_s: float = 10.0) -> Job:
    """Runs a kernel of `kernel` once."""
    options = dataclasses.replace(OPTIONS, run_timeout_s=limit_s)
    request = {
        "library": library.name,
        "tensors": [((1,), "float32")] * 2,
        "options": dataclasses.asdict(options),
        "quick_above_s": 0.0,
    }
    return Job("timings", lambda: request, {library.name: str(library)}, limit_s)


@contextlib.contextmanager
def tracker() -> Iterator[int]:
    """A tracker on loopback; its port."""
    started = Tracker("127.0.0.1", port=21000 + os.getpid() % 20000, port_end=62000, silent=True)
    try:
        yield started.port
    finally:
        started.terminate()


@contextlib.contextmanager
def server(tracker_port: int, *, wait: bool = True) -> Iterator[psutil.Process]:
    """A server on loopback, listening or, without ``wait``, about to."""
    command = [sys.executable, "-m", "dgtl.tvm.rpc.server", "--key", KEY, "--port", "23000"]
    command += ["--tracker", f"127.0.0.1:{tracker_port}", "--cores", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as started:
        try:
            if wait:
                assert started.stdout is not None
                assert "serving" in started.stdout.readline()
            yield psutil.Process(started.pid)
        finally:
            started.send_signal(signal.SIGCONT)
            started.terminate()


def session_of(server: psutil.Process) -> psutil.Process:
    """The process of the session that a server has or is about to have."""
    return eventually(lambda: next(iter(server.children()), None))


def eventually(look: Callable, timeout_s: float = 30.0):
    """What ``look`` finds, once it finds something."""
    begin = time.monotonic()
    while time.monotonic() - begin < timeout_s:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing within {timeout_s} s")
