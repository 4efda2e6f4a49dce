"""What building and running kernels needs of this machine, tried before anything is computed."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from tvm.support import cc

from dgtl.core.cores import available_cores

CACHES = ("ccache", "sccache", "distcc", "icecc")
"""Programs that stand before a compiler's name, which linking does not need."""

LEAST_FREE_MB = 64
"""What a batch of candidates takes on disk, with room."""

LIMIT_S = 60.0
"""An empty library takes a compiler a tenth of a second."""

ANOTHER = "TMPDIR=FOLDER chooses another"


def require_toolchain() -> str:
    """The C++ compiler that TVM links kernels with; a library that it made was loaded.

    Raises open files to what workers need, as far as that is allowed.

    Raises:
        ValueError: no compiler, or one that does not work; no folder for temporary files, a full
            one, or one from which no library may be loaded; too few open files.
    """
    _allow_files(256 + 8 * available_cores())
    compiler = _compiler()
    try:
        folder = tempfile.gettempdir()
        if shutil.disk_usage(folder).free < LEAST_FREE_MB << 20:
            raise OSError(errno.ENOSPC, "full")
        with tempfile.TemporaryDirectory(prefix="dgtl-toolchain-") as temporary:
            _try(compiler, Path(temporary))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"{folder}, for temporary files, has no {LEAST_FREE_MB} MB left"
        else:
            what = f"no temporary file can be written ({error.strerror or error})"
        raise ValueError(f"{what}: {ANOTHER}") from error
    return compiler


def _compiler() -> str:
    """The program, by one word: TVM does not take ``CXX='ccache g++'``, of which g++ is left."""
    for name in ("CXX", "CC"):
        named = os.environ.get(name)
        if not named:
            continue
        words = [named]
        if shutil.which(named) is None:
            words = [word for word in shlex.split(named) if Path(word).name not in CACHES]
        if len(words) != 1:
            raise ValueError(
                f"{name}={named}: TVM takes the name of one program: write a script that calls it"
            )
        if shutil.which(words[0]) is None:
            raise ValueError(f"{name}={named}: no such program: name a C++ compiler, or none")
        os.environ["CXX"] = words[0]
        return words[0]
    found = cc.get_cc()
    if found is None:
        raise ValueError("no C++ compiler found: install one, such as g++ (apt-get install g++)")
    return str(found)


def _try(compiler: str, folder: Path) -> None:
    """Makes a library and loads it."""
    source, library = folder / "a.cc", folder / "a.so"
    source.write_text('extern "C" int answer() { return 42; }\n')
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
    try:
        done = subprocess.run(command, capture_output=True, errors="replace", timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{_broken(compiler, str(error))}") from error
    if "No space left" in done.stderr:
        raise OSError(errno.ENOSPC, "full")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ValueError(_broken(compiler, lines[-1]))
    if not library.exists():
        raise ValueError(_broken(compiler, "it made nothing"))
    try:
        ctypes.CDLL(str(library)).answer()
    except OSError as error:
        raise ValueError(
            f"no library may be loaded from {folder.parent} ({str(error).split(': ', 1)[-1]}), "
            f"mounted noexec perhaps: {ANOTHER}"
        ) from error


def _broken(compiler: str, why: str) -> str:
    return f"the C++ compiler {compiler} does not work ({why}): mend it, or name another by CXX="


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files to what is wanted, if it is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ValueError(
            f"only {hard} files may be open at a time, and {wanted} are wanted: ulimit -n {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
