"""What a user may say of a tuning, and the settings of ``conf/`` that it stands for."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import platformdirs

from dgtl.core.local_history import default_folder

OF_SETTINGS = {
    r"workload\.path=": "",
    r"workload\.shapes": "--shape",
    r"workload\.constants": "--constant",
    r"workload\.inputs": "--inputs",
    r"hardware\.num_cores=": "--cores ",
    r"hydra\.run\.dir=FOLDER": "--out FOLDER",
    r"fresh=true": "--fresh",
    r"budget\.seconds=": "--seconds ",
    r"deploy\.untuned=false": "--set deploy.untuned=false",
    r"workload\.winograd=false": "--set workload.winograd=false",
    r"seed=(?=-)": "--seed ",
}
"""What settings are called on the command line, by how messages of a run call them."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user says of a tuning, see `dgtl.front.api.tune`.

    Args:
        model: an ONNX file.
        out: folder for what comes out.
        fresh: leave aside what an earlier run left there.
        seconds, shapes, constants, inputs, num_cores, seed, history, settings: as of `dgtl.tune`.
    """

    model: Path
    out: Path
    seconds: float
    shapes: dict[str, Any] = dataclasses.field(default_factory=dict)
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Path | None = None
    num_cores: int | None = None
    seed: int = 0
    history: bool = True
    fresh: bool = False
    settings: tuple[str, ...] = ()

    def overrides(self) -> list[str]:
        """The groups of ``conf/``, then what the user sets beside."""
        return ["workload=onnx", "budget=seconds", "tracking=disabled", *self.settings]

    def values(self) -> dict[str, Any]:
        """Settings by their names; paths are absolute, so that a run goes on from anywhere."""
        values: dict[str, Any] = {
            "workload.path": str(self.model.absolute()),
            "workload.shapes": {name: list(s) for name, s in self.shapes.items()} or None,
            "workload.constants": self.constants or None,
            "workload.inputs": None if self.inputs is None else str(self.inputs.absolute()),
            "hardware.num_cores": self.num_cores,
            "budget.seconds": self.seconds,
            "seed": self.seed,
            "fresh": self.fresh,
            "cache": str(Path(platformdirs.user_cache_dir("dgtl")) / "models"),
            "workload.winograd": True,
            "history.hardware": "any",
            "history.own_layers": True,
            "history.local": str(default_folder()) if self.history else None,
            "deploy.allow_untuned": True,
        }
        # What the user sets by name stands.
        return {k: v for k, v in values.items() if not self._sets(k)}

    def _sets(self, name: str) -> bool:
        return any(setting.split("=")[0].lstrip("+~") == name for setting in self.settings)


def in_options(text: str) -> str:
    """A message of a run, its settings called as on the command line of `dgtl tune`."""
    text = re.sub(r"workload\.(shape|constant)s='\{(.*?)\}'", _each, text)
    for setting, option in OF_SETTINGS.items():
        text = re.sub(setting, option, text)
    return text


def _each(setting: re.Match) -> str:
    """An option for each input of a setting such as ``workload.shapes='{x: [1,3], y: [2]}'``."""
    option, inputs = setting.groups()
    given = re.findall(r"((?:\\.|[^\\:])+): (?:\[(.*?)\]|(\w+))(?:, |$)", inputs)
    names = (re.sub(r"\\(.)", r"\1", name) for name, _, _ in given)
    return " ".join(
        f"--{option} {shlex.quote(f'{name}={extents or value}')}"
        for name, (_, extents, value) in zip(names, given, strict=True)
    )
