"""All that a trained deep GP is: named arrays, and how they lie on disk.

The arrays are the model. GPflux trains them (layers.py, train.py), numpy predicts with
them (predict.py) and re-centres them on a target task (map.py), so that loading and
predicting never import TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from dgtl.models.arrays import read_npz
from dgtl.models.base import CONSTANT

if TYPE_CHECKING:
    from pathlib import Path

Array = NDArray[np.float64]
KernelName = Literal["matern52", "rbf"]

KERNEL_NAMES: tuple[KernelName, ...] = ("matern52", "rbf")


@dataclass(frozen=True)
class DGPConfig:
    """How a deep GP is built and trained. Defaults: about 35 s for 12,000 x 80 on 2 threads.

    Args:
        layers: number of GP layers; one is a sparse variational GP.
        hidden: width of the hidden layers, at most that of their inputs.
        inducing: inducing points of a layer, at most the number of distinct rows.
        kernel: stationary kernel with one length scale for each input.
        steps: steps of Adam.
        batch: rows of a minibatch.
        learning_rate: that of Adam at the first step, falling to zero along a cosine.
        jitter: added to the diagonal of the kernel matrix of the inducing points.
        noise_floor: least variance of the likelihood, in units of the target's variance.
    """

    layers: int = 2
    hidden: int = 8
    inducing: int = 128
    kernel: KernelName = "matern52"
    steps: int = 1000
    batch: int = 512
    learning_rate: float = 0.01
    jitter: float = 1e-6
    noise_floor: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "inducing", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"DGPConfig.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "jitter", "noise_floor"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"DGPConfig.{name} must be positive, got {getattr(self, name)}")
        if self.kernel not in KERNEL_NAMES:
            raise ValueError(f"DGPConfig.kernel must be one of {KERNEL_NAMES}, got {self.kernel!r}")


@dataclass(frozen=True)
class LayerState:
    """One sparse GP layer, D inputs to R outputs, which share the kernel.

    The inducing outputs are whitened, u = L v with L L^T = K(Z, Z), and q(v_r) =
    N(q_mu[:, r], q_sqrt[r] q_sqrt[r]^T); the mean function is x `mean_a` + `mean_b`.
    """

    variance: Array  # []
    lengthscales: Array  # [D]
    inducing: Array  # [M, D]
    q_mu: Array  # [M, R]
    q_sqrt: Array  # [R, M, M], lower triangular
    mean_a: Array  # [D, R]
    mean_b: Array  # [R]


LAYER_FIELDS = ("variance", "lengthscales", "inducing", "q_mu", "q_sqrt", "mean_a", "mean_b")


@dataclass(frozen=True)
class Scaler:
    """Standardisation, fixed by the source data alone.

    Columns that are constant there are dropped: nothing was learned about them, and a target
    task may set them to anything. What lies beyond the others' range counts as its end, as it does
    for trees: the mean functions of the layers are linear, and would carry a trend on without end.
    """

    width: int
    columns: NDArray[np.int64]  # [D] those kept
    x_mean: Array  # [D]
    x_std: Array  # [D]
    x_range: Array  # [2, D] least and greatest, as they are, not standardised
    y_mean: float
    y_std: float

    @classmethod
    def of(cls, x: Array, y: Array) -> Scaler:
        """That of features [N, width] and targets [N].

        Raises:
            ValueError: every column is constant.
        """
        mean, std = x.mean(axis=0), x.std(axis=0)
        columns = np.flatnonzero(std > CONSTANT * np.maximum(1.0, np.abs(mean)))
        if len(columns) == 0:
            raise ValueError("every feature is constant: there is nothing to learn from")
        y_std = float(y.std())
        # Equal targets carry no scale; 1 leaves them in units of log2 GFLOPS.
        y_std = y_std if y_std > 1e-9 else 1.0
        kept = x[:, columns]
        x_range = np.stack([kept.min(axis=0), kept.max(axis=0)])
        return cls(
            x.shape[1], columns, mean[columns], std[columns], x_range, float(y.mean()), y_std
        )

    def inputs(self, x: Array) -> Array:
        """[N, width] to standardised [N, D]."""
        return np.asarray((np.clip(x[:, self.columns], *self.x_range) - self.x_mean) / self.x_std)

    def targets(self, y: Array) -> Array:
        """log2 GFLOPS [N] to standardised [N]."""
        return (y - self.y_mean) / self.y_std


@dataclass(frozen=True)
class DGPState:
    """A trained model: layers, likelihood variance (in standardised units), scaler, jitter."""

    layers: tuple[LayerState, ...]
    noise: float
    scaler: Scaler
    jitter: float
    kernel: KernelName

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Every array under its canonical name, as saved; the kernel is part of the config."""
        named: dict[str, NDArray[np.generic]] = {
            "scaler.width": np.asarray(self.scaler.width),
            "scaler.columns": self.scaler.columns,
            "scaler.x_mean": self.scaler.x_mean,
            "scaler.x_std": self.scaler.x_std,
            "scaler.x_range": self.scaler.x_range,
            "scaler.y": np.asarray([self.scaler.y_mean, self.scaler.y_std]),
            "noise": np.asarray(self.noise),
            "jitter": np.asarray(self.jitter),
        }
        for i, layer in enumerate(self.layers):
            named |= {f"layer{i}.{field}": getattr(layer, field) for field in LAYER_FIELDS}
        return named

    @classmethod
    def from_arrays(
        cls, named: dict[str, NDArray[np.generic]], layers: int, kernel: KernelName
    ) -> DGPState:
        """The inverse of `arrays`.

        Raises:
            ValueError: names are missing or unknown, shapes disagree, values are not finite.
        """
        if layers * len(LAYER_FIELDS) > len(named):
            raise ValueError(f"{len(named)} arrays are not {layers} layers")
        names = {f"layer{i}.{field}" for i in range(layers) for field in LAYER_FIELDS}
        scaling = ("width", "columns", "x_mean", "x_std", "x_range", "y")
        names |= {f"scaler.{field}" for field in scaling}
        names |= {"noise", "jitter"}
        if set(named) != names:
            raise ValueError(f"arrays missing or unknown: {sorted(names ^ set(named))}")
        if not all(np.isfinite(array).all() for array in named.values()):  # type: ignore[call-overload]
            raise ValueError("arrays hold nan or inf")
        for name in ("scaler.width", "noise", "jitter"):
            if named[name].shape != ():
                raise ValueError(f"{name} is no number")
        width = int(named["scaler.width"])  # type: ignore[call-overload]
        y_mean, y_std = (float(v) for v in named["scaler.y"])
        scaler = Scaler(
            width,
            named["scaler.columns"].astype(np.int64),
            named["scaler.x_mean"].astype(np.float64),
            named["scaler.x_std"].astype(np.float64),
            named["scaler.x_range"].astype(np.float64),
            y_mean,
            y_std,
        )
        states = tuple(
            LayerState(**{f: named[f"layer{i}.{f}"].astype(np.float64) for f in LAYER_FIELDS})
            for i in range(layers)
        )
        if scaler.columns.ndim != 1 or not all(0 <= c < width for c in scaler.columns):
            raise ValueError("columns of no feature")
        inputs = len(scaler.columns)
        if (scaler.x_mean.shape, scaler.x_std.shape, scaler.x_range.shape) != (
            *((inputs,), (inputs,)),
            (2, inputs),
        ):
            raise ValueError("shapes of the scaler disagree")
        for i, layer in enumerate(states):
            if layer.q_mu.ndim != 2:
                raise ValueError(f"shapes of layer {i} disagree")
            m, r = layer.q_mu.shape
            expected = ((), (inputs,), (m, inputs), (m, r), (r, m, m), (inputs, r), (r,))
            if tuple(getattr(layer, f).shape for f in LAYER_FIELDS) != expected:
                raise ValueError(f"shapes of layer {i} disagree")
            inputs = r
        return cls(states, float(named["noise"]), scaler, float(named["jitter"]), kernel)  # type: ignore[arg-type]


def write_arrays(path: Path, state: DGPState) -> None:
    """Write the arrays of `state` as a compressed npz."""
    np.savez_compressed(path, **state.arrays())  # type: ignore[arg-type]


def read_arrays(path: Path, layers: int, kernel: KernelName) -> DGPState:
    """Read what `write_arrays` wrote.

    Raises:
        ValueError: the file is missing, damaged or another's.
    """
    try:
        return DGPState.from_arrays(read_npz(path), layers, kernel)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not the parameters of this model ({error})") from error
