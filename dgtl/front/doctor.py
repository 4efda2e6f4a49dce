"""`dgtl doctor`: whether this installation can tune, and what to do where it cannot."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from dgtl.core import local_history
from dgtl.core.cores import available_cores
from dgtl.core.local_history import LocalHistory

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = (3, 11)

LIMIT_S = 120.0
"""A check in a process of its own takes seconds; ten of them to import TVM on a busy machine."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check came to.

    Args:
        what: was checked.
        state: what was found, in a few words.
        cure: what to do about it; empty where all is well.
        needed: whether tuning fails without it.
    """

    what: str
    state: str
    cure: str = ""
    needed: bool = True

    def __str__(self) -> str:
        if not self.cure:
            return f"ok       {self.what}: {self.state}"
        grade = "MISSING" if self.needed else "note"
        return f"{grade:8} {self.what}: {self.state}\n         -> {self.cure}"


def examine() -> int:
    """Prints a line for each check; 1 if something is missing that is needed, else 0."""
    bad = False
    for check in CHECKS:
        finding = check()
        print(finding, flush=True)
        bad |= bool(finding.cure) and finding.needed
    print("\nsomething is missing" if bad else "\nready: dgtl tune MODEL.onnx")
    return int(bad)


def python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON))
    cure = "" if sys.version_info[:2] == PYTHON else f"make an environment: python{wanted} -m venv"
    return Finding("Python", found, cure)


def packages() -> Finding:
    """Every requirement that names a version."""
    wrong, n = [], 0
    for requirement in importlib.metadata.requires("dgtl") or []:
        match = re.match(r"([\w.-]+)==([\w.]+)$", requirement.partition(";")[0].strip())
        if match is None or "extra ==" in requirement:
            continue
        n += 1
        name, version = match.groups()
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found != version:
            wrong.append((f"{name} {found} instead of {version}", f"'{name}=={version}'"))
    if not wrong:
        return Finding("packages", f"{n} are of the versions that work together")
    said = "; ".join(what for what, _ in wrong)
    return Finding("packages", said, f"pip install {' '.join(cure for _, cure in wrong)}")


def compiler() -> Finding:
    """Compiles, links and loads a shared library."""
    code = "from dgtl.tvm.toolchain import require_toolchain; print(require_toolchain())"
    found, error = _in_process(code)
    state, _, cure = error.removeprefix("ValueError: ").rpartition(": ")
    return Finding("C++ compiler", state or f"{found} compiles, and what it made loads", cure)


def tvm() -> Finding:
    """Builds a kernel, exports it, loads and runs it."""
    code = "from dgtl.tvm.selftest import run; print(run())"
    found, error = _in_process(code)
    cure = "pip install --force-reinstall apache-tvm, then dgtl doctor again" if error else ""
    return Finding("TVM", error or found, cure)


def folders() -> Finding:
    """Cache and temporary folder can be written, and a program there may run."""
    cache = Path(platformdirs.user_cache_dir("dgtl"))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        return Finding("cache", f"{cache}: {error.strerror}", "export XDG_CACHE_HOME=FOLDER")
    temporary = Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(dir=temporary) as folder:
        script = Path(folder) / "runs"
        script.write_text("#!/bin/sh\nexit 0\n")
        script.chmod(0o700)
        try:
            subprocess.run([str(script)], check=True)
        except OSError as error:
            return Finding(
                "temporary files",
                f"nothing may be executed in {temporary} ({error.strerror})",
                "export TMPDIR=FOLDER, of a file system that is mounted without noexec",
            )
    return Finding("folders", f"{cache} and {temporary} can be written")


def cores() -> Finding:
    seen, granted = len(os.sched_getaffinity(0)), available_cores()
    few = "" if granted == seen else f" of {seen}: no more are granted to this container"
    return Finding("cores", f"{granted}{few}")


def gpu() -> Finding:
    """Present or not: a CPU is tuned for without."""
    there = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
    try:
        compiler = f"NVRTC {importlib.metadata.version('nvidia-cuda-nvrtc')}"
    except importlib.metadata.PackageNotFoundError:
        compiler = "no NVRTC (pip install 'dgtl[cuda]')"
    return Finding("NVIDIA GPU", f"{'one' if there else 'none'} here, {compiler}; not needed")


def history() -> Finding:
    folder = local_history.default_folder()
    try:
        local_history.make(folder)
    except ValueError as error:
        return Finding("history", str(error), "export DGTL_HISTORY=FOLDER")
    local = LocalHistory.read(folder)
    if local.remarks:
        cure = "remove the file, or import it again: dgtl history import FILE"
        return Finding("history", "; ".join(local.remarks), cure, needed=False)
    return Finding("history", f"{local.n_trials} trials in {folder}")


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    packages,
    compiler,
    folders,
    tvm,
    cores,
    gpu,
    history,
)
"""In the order in which a user would put things right."""


def _in_process(code: str) -> tuple[str, str]:
    """What a process printed, and the last line of what went wrong there; one of both is empty."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return "", f"not done after {LIMIT_S:.0f} s"
    if done.returncode == 0:
        return done.stdout.strip().splitlines()[-1], ""
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return "", lines[-1]
