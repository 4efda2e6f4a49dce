"""The model of the shipped history, ready made: a first run need not train.

It is kept under a name that says what it learned and how, as `dgtl.models.cache` does. Its name is
over the trials themselves instead of their features: these are computed by the processor at hand,
of which one may round a logarithm otherwise than another. ``scripts/make_model.py`` makes it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgtl.features.loop_nest import FEATURES_SCHEMA
from dgtl.models import load_model
from dgtl.models.arrays import DAMAGED
from dgtl.models.base import SCHEMA
from dgtl.models.cache import learning_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dgtl.core.history import SourceTask
    from dgtl.models.base import StoredModel

FOLDER = Path(__file__).parents[1] / "data" / "models"
"""Of models that come with the program."""


def name_of(sources: Sequence[SourceTask], settings: dict[str, Any]) -> str:
    """Name of the model of these sources with these settings, as JSON would have them."""
    digest = hashlib.sha256()
    schemas = {"features": FEATURES_SCHEMA, "model": SCHEMA}
    digest.update(json.dumps(schemas | settings, sort_keys=True).encode())
    for source in sources:
        digest.update(json.dumps(source.task.to_json(), sort_keys=True).encode())
        for trial in source.ok_trials:
            digest.update(f"{trial.config} {trial.latency_s!r}\n".encode())
    return f"dgp-{digest.hexdigest()[:16]}"


def load_ready(
    sources: Sequence[SourceTask], settings: dict[str, Any], folder: Path = FOLDER
) -> tuple[StoredModel, float] | None:
    """The model of these sources, and the seconds that it took to learn; None if none is ready."""
    path = folder / f"{name_of(sources, settings)}.zip"
    return load_archive(path) if path.exists() else None


def load_archive(path: Path) -> tuple[StoredModel, float]:
    """A model that `keep_ready` packed, and the seconds that it took to learn.

    Raises:
        ValueError: the archive is damaged, larger than any model, or of something else.
    """
    with tempfile.TemporaryDirectory(prefix="dgtl-model-") as unpacked:
        _extract(path, Path(unpacked))
        return load_model(Path(unpacked)), learning_seconds(Path(unpacked))


MOST_UNPACKED = 1 << 30
"""Bytes that an archive may hold; ours has two million."""


def _extract(path: Path, folder: Path) -> None:
    """Unpacks an archive, which cannot name files outside of the folder: `zipfile` sees to it."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST_UNPACKED:
                raise ValueError(f"{size} bytes are no model")
            archive.extractall(folder)
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged ({error}): remove the file") from error


def keep_ready(model_folder: Path, name: str, folder: Path = FOLDER) -> Path:
    """Packs a kept model under its name; others of the folder are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.glob("*.zip"):
        other.unlink()
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for file in sorted(model_folder.rglob("*")):
            if file.is_file():
                # A fixed date, so that equal models are equal files.
                entry = zipfile.ZipInfo(str(file.relative_to(model_folder)))
                entry.compress_type = zipfile.ZIP_LZMA
                archive.writestr(entry, file.read_bytes())
    return path
