"""TVM's runtime libraries: where they are, and loading them without the package `tvm`."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from .errors import RefusedError


def find_runtime(folder: Path, given: str | None, kind: str) -> Path:
    """The folder of TVM's runtime libraries."""
    if given is not None:
        place = Path(given)
    elif (folder / "runtime").is_dir():
        place = folder / "runtime"
    else:
        spec = importlib.util.find_spec("tvm")  # an import would load the compiler
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise RefusedError("no TVM here: pip install apache-tvm, or give --runtime DIR")
        place = Path(places[0]) / "lib"
    for name in library_names(kind):
        if not (place / name).is_file():
            raise RefusedError(
                f"{place} has no {name}: give --runtime DIR with TVM's runtime libraries"
            )
    return place.resolve()


def library_names(kind: str) -> list[str]:
    """TVM's runtime libraries that a kind of device needs, in the order of loading."""
    names = ["runtime", "runtime_extra", *(["runtime_cuda"] if kind == "cuda" else [])]
    return [f"libtvm_{name}.so" for name in names]


def load_runtime(place: Path, kind: str) -> None:
    """Loads the libraries into this process."""
    for name in library_names(kind):
        _load(place / name)


def _load(path: Path) -> None:
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError as error:
        # The wheel of TVM has no CUDA runtime: take it from NVIDIA's wheel or toolkit.
        name = str(error).partition(":")[0]
        places = [*(Path(entry) / "nvidia" for entry in sys.path), Path("/usr/local")]
        found = [f for place in places for f in place.glob(f"*/lib*/{name}")]
        if not name.startswith("libcudart") or not found:
            raise
        ctypes.CDLL(str(found[0]), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
