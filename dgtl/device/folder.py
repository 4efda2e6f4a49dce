"""A visit folder: its manifest, its packs of kernels, its networks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import lzma
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from .errors import RefusedError, undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A library in a pack.

    Args:
        check: None, or the seed and the file of expected values.
        cubins: files of its binaries by the SHA-256 of their CUDA source, UTF-8.
    """

    id: str
    library: str
    tensors: list[tuple[list[int], str]]
    check: dict[str, Any] | None
    cubins: dict[str, str]

    def __post_init__(self) -> None:
        _ = self.files  # fails here where the manifest is damaged
        if self.check and any(dtype != "float32" for _, dtype in self.tensors):
            raise RefusedError(f"the check of kernel {self.id} is not of float32 tensors")

    @property
    def files(self) -> list[str]:
        """What the pack holds of it."""
        expected = [self.check["expected"]] if self.check else []
        return [self.library, *expected, *self.cubins.values()]


@dataclasses.dataclass(frozen=True)
class Pack:
    """A file of many kernels of one task."""

    file: str
    sha256: str
    best_s: float | None
    kernels: list[Kernel]

    @property
    def ids(self) -> list[str]:
        return [kernel.id for kernel in self.kernels]

    @property
    def hashes(self) -> dict[str, str | None]:
        """The SHA-256 of each file of the folder, where it is known."""
        return {self.file: self.sha256}


@dataclasses.dataclass(frozen=True)
class Network:
    """A library of a whole network, and a file of inputs and expected outputs.

    Args:
        cubins: its binaries by the SHA-256 of their CUDA source, UTF-8: file, and SHA-256 of that.
    """

    id: str
    file: str
    sha256: str
    inputs: str
    repeats: int
    cubins: dict[str, tuple[str, str]]

    def __post_init__(self) -> None:
        _ = self.hashes  # fails here where the manifest is damaged

    @property
    def ids(self) -> list[str]:
        return [self.id]

    @property
    def hashes(self) -> dict[str, str | None]:
        """The SHA-256 of each file of the folder, where it is known."""
        return {self.file: self.sha256, self.inputs: None, **dict(self.cubins.values())}


class Visit:
    """The manifest of a folder.

    Raises:
        RefusedError: it is not there, not ours, newer than this program, or damaged.
    """

    OPTIONS = ("repeats", "min_repeat_ms", "run_timeout_s", "quick_factor", "cache_flush_mb")

    def __init__(self, folder: Path):
        path = folder / "manifest.json"
        try:
            manifest = json.loads(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise RefusedError(f"{folder} has no manifest.json: not a visit folder") from None
        except (ValueError, RecursionError):
            raise RefusedError(f"{path} is not JSON: copy the folder again") from None
        if not isinstance(manifest, dict) or manifest.get("type") != "dgtl-visit":
            raise RefusedError(f"{path} is of another program")
        if isinstance(manifest.get("schema"), int) and manifest["schema"] > SCHEMA:
            raise RefusedError(
                f"{path} has schema {manifest['schema']}, newer than this program: take the "
                "device.pyz of the dgtl that made the folder"
            )
        try:
            self.id, self.kind, self.arch = manifest["id"], manifest["device"], manifest["arch"]
            self.threads = int(manifest["threads"]) if self.kind == "cpu" else None
            self.options = {name: float(manifest["options"][name]) for name in self.OPTIONS}
            self.parts: list[Pack | Network] = []
            for pack in manifest["packs"]:
                kernels = [Kernel(**kernel) for kernel in pack["kernels"]]
                self.parts.append(Pack(pack["file"], pack["sha256"], pack["best_s"], kernels))
            names = [field.name for field in dataclasses.fields(Network)]
            for network in manifest["networks"]:
                self.parts.append(Network(**{name: network[name] for name in names}))
            ids = [id for part in self.parts for id in part.ids]
            twice = len(set(ids)) < len(ids)
            for part in self.parts:
                _check_names(part)
        except RefusedError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise RefusedError(f"{path} is damaged: {error!r}"[:300]) from None
        if self.kind not in ("cpu", "cuda"):
            raise RefusedError(f"{path} is for a device '{self.kind}': this runs cpu and cuda")
        if twice:
            raise RefusedError(f"{path} is damaged: an id is there twice")
        self.count = len(ids)


MOST_NAME = 200
"""Characters of a name of a file: systems take 255 bytes."""


def _check_names(part: Pack | Network) -> None:
    """Refuses names that lead out of the folder, or of a pack."""
    for name in part.hashes:
        path = PurePosixPath(name)
        outside = path.is_absolute() or ".." in path.parts or not path.name
        if outside or "\0" in name or len(name) > MOST_NAME:
            raise RefusedError(f"the manifest names '{name[:80]}', outside of the folder")
    inside = (
        [name for kernel in part.kernels for name in kernel.files] if isinstance(part, Pack) else []
    )
    for name in inside:
        plain = PurePosixPath(name).name == name and name != ".."
        if not plain or "\0" in name or len(name) > MOST_NAME:
            raise RefusedError(f"the manifest names '{name[:80]}', no file of a pack")


MOST_UNPACKED = 4 << 30
"""Bytes of a pack; those of a thousand kernels are a hundred million."""


def verify(folder: Path, part: Pack | Network) -> None:
    """Refuses a file that is missing or not what was packed."""
    for name, sha256 in part.hashes.items():
        path = folder / name
        if not path.is_file():
            raise RefusedError(f"{path} is missing: copy the folder again")
        if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise RefusedError(f"{path} is not what was packed, its hash differs: copy it again")


def unpack(folder: Path, pack: Pack, where: Path) -> None:
    """Unpacks a pack: the files that its kernels name, and no other."""
    archive = folder / pack.file
    expected = {name for kernel in pack.kernels for name in kernel.files}
    found = set()
    try:
        with tarfile.open(archive, mode="r:xz") as tar:
            size = 0
            for member in tar:
                size += member.size
                if size > MOST_UNPACKED:
                    raise RefusedError(f"{archive} holds more than {MOST_UNPACKED >> 30} GiB")
                source = tar.extractfile(member) if member.isreg() else None
                if source is None or "/" in member.name or member.name not in expected:
                    raise RefusedError(
                        f"{archive} holds '{member.name}', which its manifest does not"
                    )
                with (where / member.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                found.add(member.name)
    except (tarfile.TarError, lzma.LZMAError, EOFError, MemoryError) as error:
        raise RefusedError(f"{archive} does not unpack: {error}") from None
    if found != expected:
        raise RefusedError(f"{archive} lacks {min(expected - found)}")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed after, as are those of processes that were killed."""
    for old in Path(tempfile.gettempdir()).glob("dgtl-visit-*-*"):
        number = old.name.split("-")[2]
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(old, ignore_errors=True)
    with contextlib.ExitStack() as after:
        with undisturbed():
            where = tempfile.mkdtemp(prefix=f"dgtl-visit-{os.getpid()}-")
            after.callback(_remove, where)
        yield Path(where)


def _remove(where: str) -> None:
    with undisturbed():
        shutil.rmtree(where)
