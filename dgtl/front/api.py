"""From an ONNX file to a callable: `dgtl.tune`, `dgtl.load`; the model alone: `dgtl.cost_model`."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgtl.front import package
from dgtl.front.options import Options
from dgtl.results.card import Card

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dgtl.front.cost_model import DeepGPCostModel
    from dgtl.results.card import Value

    Output = NDArray[Any] | tuple[NDArray[Any], ...]

SECONDS = 300.0
"""Of a search where nothing else is said: ResNet-18 on four cores has its best in about that."""


class Tuned:
    """A tuned network: call it with NumPy arrays.

    Made by `tune` and `load`.

    Args:
        folder: that holds ``model.so`` and ``card.json``.
        kept: the same, where it is to be removed with this object.

    Attributes:
        card: what it takes and gives, and how it was made.

    Raises:
        ValueError: the folder holds no such network, or one of another machine or version.
    """

    def __init__(self, folder: Path, *, kept: tempfile.TemporaryDirectory[str] | None = None):
        self.folder = Path(folder)
        self._kept = kept
        self.card = Card.read(self.folder)
        self._refuse_elsewhere()
        from dgtl.tvm.deploy.library import Library

        path = self.folder / "model.so"
        if not path.is_file():
            raise ValueError(f"{self.folder}: model.so is missing: tune the network again")
        self._library = Library(path, self.card.num_cores)
        self._tail: Any = None
        if (self.folder / "tail.onnx").exists():
            import onnxruntime

            self._tail = onnxruntime.InferenceSession(
                str(self.folder / "tail.onnx"), providers=["CPUExecutionProvider"]
            )

    def __call__(self, /, *args: Any, **named: Any) -> Output:
        """What the network gives: an array, or a tuple where there are several.

        Args:
            args: values of its inputs in their order, or a dict of them by name.
            named: inputs by name.

        Raises:
            ValueError: an input is missing, unknown, or of another shape or type.
        """
        if len(args) == 1 and isinstance(args[0], dict) and not named:
            named, args = args[0], ()
        given = _in_order(self.card.inputs, args, named)
        values = [_checked(*each) for each in zip(self.card.inputs, given, strict=True)]
        outputs = self._library(values)
        if self._tail is not None:
            outputs = self._after(outputs, values)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def save(self, folder: str | Path) -> Path:
        """Copies the network with its card, schedules and example into a folder.

        Raises:
            ValueError: the folder holds something else.
        """
        target = Path(folder)
        package.check_free(target)
        target.mkdir(parents=True, exist_ok=True)
        for name in package.FILES:
            source = self.folder / name
            if source.is_dir():
                shutil.copytree(source, target / name, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, target / name)
            else:
                (target / name).unlink(missing_ok=True)
        return target

    def __repr__(self) -> str:
        takes = ", ".join(map(str, self.card.inputs))
        return f"<dgtl.Tuned ({takes}), {self.card.latency_ms:.3f} ms on {self.card.hardware}>"

    def _after(self, outputs: list[NDArray[Any]], inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """What ``tail.onnx`` makes of these outputs and the network's inputs."""
        known = dict(zip((v.name for v in self.card.inputs), inputs, strict=True))
        known |= dict(zip((v.name for v in self.card.outputs), outputs, strict=True))
        fed = {value.name: known[value.name] for value in self._tail.get_inputs()}
        return [np.asarray(value) for value in self._tail.run(None, fed)]

    def _refuse_elsewhere(self) -> None:
        from dgtl.tvm import hardware

        card, here = self.card, hardware.cpu_name()
        lacking = card.lacking(hardware.cpu_features())
        if lacking:
            raise ValueError(
                f"{self.folder} was built on {card.hardware}, whose {', '.join(lacking[:5])} this "
                f"machine ({here}) lacks: tune the network here"
            )
        versions = hardware.runtime_versions()
        for name in ("tvm", "tvm_ffi"):
            if versions[name] != card.versions.get(name):
                raise ValueError(
                    f"{self.folder} was built with {name} {card.versions.get(name)} and this is "
                    f"{versions[name]}: install that version, or tune the network again"
                )
        if here != card.hardware:
            warnings.warn(
                f"{self.folder} was tuned on {card.hardware}; it runs on this machine ({here}), "
                "but other schedules may be faster here",
                stacklevel=4,
            )


def tune(
    model: str | Path,
    *,
    seconds: float = SECONDS,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Any] | None = None,
    inputs: str | Path | None = None,
    num_cores: int | None = None,
    seed: int = 0,
    history: bool = True,
    settings: Sequence[str] = (),
) -> Tuned:
    """Tunes a network for this machine.

    Ctrl-C ends the search; what is found until then is the result. The network is compared with
    ONNX Runtime before and after.

    Args:
        model: an ONNX file.
        seconds: wall clock of the search; importing, checking and building come on top.
        shapes: of inputs with open extents, by name.
        constants: values of inputs that the network is not to take any more, by name: numbers or
            nested lists of them, such as ``{"sr": 16000}``.
        inputs: npz file with a value for each input, to check and time with; None: random ones.
        num_cores: threads that the network may use; None: as many as there are cores.
        seed: of every random choice.
        history: learn from what was tuned here before, and remember what is found.
        settings: more of them, as ``run.py`` takes them: ``["budget.batch=32"]``.

    Raises:
        ValueError: something in the above cannot be used, or the tuned network computes something
            else than ONNX Runtime; one line says what to do.
        KeyboardInterrupt: before anything was found.
    """
    wait_passively()
    from dgtl.front.tuning import tuned_into

    kept = tempfile.TemporaryDirectory(prefix="dgtl-tuned-")
    options = Options(
        model=Path(model),
        out=Path(kept.name),
        seconds=seconds,
        shapes=dict(shapes or {}),
        constants=dict(constants or {}),
        inputs=None if inputs is None else Path(inputs),
        num_cores=num_cores,
        seed=seed,
        history=history,
        settings=tuple(settings),
    )
    tuned_into(options)
    return Tuned(options.out, kept=kept)


def wait_passively() -> None:
    """Before XGBoost is imported: its threads sleep where they wait.

    Those that spin take the cores from whoever has work: beside other programs the trees of a
    search took 12 seconds of two cores instead of 5.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def load(folder: str | Path) -> Tuned:
    """A network that was tuned before, from its folder.

    Raises:
        ValueError: the folder holds none, or one of another machine or version.
    """
    return Tuned(Path(folder))


def cost_model(*, history: bool = True) -> DeepGPCostModel:
    """The deep GP for TVM's own MetaSchedule: ``tune_tir(..., cost_model=dgtl.cost_model())``.

    It knows what dgtl learned of other layers on CPUs, and is tuned to every task as trials come
    in. Its `predict`, `update`, `save` and `load` are what MetaSchedule asks of a cost model.

    Args:
        history: learn from what was tuned here before, too.
    """
    wait_passively()
    from dgtl.front.cost_model import of_history

    return of_history(local=history)


def _in_order(inputs: Sequence[Value], args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """What was given for each input.

    Raises:
        ValueError: too much, too little, or an unknown name.
    """
    names = [value.name for value in inputs]
    takes = f"the network takes {', '.join(map(str, inputs))}"
    if len(args) > len(names):
        raise ValueError(f"{len(args)} inputs were given: {takes}")
    given = dict(zip(names, args, strict=False))
    for name, value in named.items():
        if name not in names:
            raise ValueError(f"input {name!r} is unknown: {takes}")
        if name in given:
            raise ValueError(f"input {name!r} was given twice")
        given[name] = value
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(f"input {missing[0]!r} was not given: {takes}")
    return [given[name] for name in names]


def _checked(expected: Value, given: Any) -> NDArray[Any]:
    value = np.asarray(given)
    if value.dtype != np.dtype(expected.dtype):
        raise ValueError(
            f"input {expected.name!r} is {value.dtype} and must be {expected.dtype}: "
            f"x.astype({expected.dtype!r}) converts it"
        )
    if value.shape != expected.shape:
        raise ValueError(
            f"input {expected.name!r} has shape {list(value.shape)} and the network was built for "
            f"{list(expected.shape)}"
        )
    return value
