"""The paper's cost model: a deep Gaussian process, pre-trained on history, tuned to a target.

Use it where few trials of the target can be afforded: `fit` once on the history of other tasks
(Sun et al. ICCV 2021 eq. 1), `adapt` to each new task on a tuning set (eq. 2), `predict` in
searches. The model is GPflux's; TensorFlow is imported by `fit` and by `adapt` with Adam, never
by loading, predicting, or adapting in closed form.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from dgtl.models.base import (
    MIN_ROWS,
    Prediction,
    check_features,
    check_trials,
    read_config,
    write_config,
)
from dgtl.models.deep_gp.init import initial_state
from dgtl.models.deep_gp.map import AdamMAP, ClosedFormMAP, closed_form, fit_offset
from dgtl.models.deep_gp.predict import CachedPredictor
from dgtl.models.deep_gp.state import Array, DGPConfig, DGPState, Scaler, read_arrays, write_arrays

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import ArrayLike

__all__ = ["AdamMAP", "ClosedFormMAP", "DGPConfig", "DeepGP", "limit_threads", "training"]

ALONE_STEPS = 500
"""Most steps of training on the target alone, where there is no source."""

_KIND = "dgp"
_PARAMETERS = "parameters.npz"


class DeepGP:
    """A cost model of `config.layers` sparse GP layers. See `dgtl.models.base.CostModel`."""

    def __init__(self, config: DGPConfig) -> None:
        self.config = config
        self._state: DGPState | None = None
        self._predictor: CachedPredictor | None = None

    @property
    def state(self) -> DGPState:
        """The trained parameters.

        Raises:
            RuntimeError: the model was never fitted.
        """
        if self._state is None:
            raise RuntimeError("this DeepGP was never fitted")
        return self._state

    def fit(self, features: ArrayLike, gflops: ArrayLike, *, seed: int) -> None:
        """Train from scratch on features [N, D] and throughput [N] in GFLOPS (eq. 1).

        Raises:
            ValueError: data that cannot be learned from, see `CostModel.fit`.
            RuntimeError: training broke down again and again.
        """
        x, y = check_trials(features, gflops)
        scaler = Scaler.of(x, y)
        inputs, targets = scaler.inputs(x), scaler.targets(y)
        start_seed, train_seed = np.random.SeedSequence(seed).spawn(2)
        start = initial_state(self.config, scaler, inputs, targets, start_seed)
        self._hold(training().train_source(start, self.config, inputs, targets, train_seed))

    def adapt(
        self, features: ArrayLike, gflops: ArrayLike, prior: ClosedFormMAP | AdamMAP, *, seed: int
    ) -> DeepGP:
        """A new model, tuned to trials of a target task about this one's parameters (eq. 2).

        Always adapt the source model to all trials of the target at once: adapting an adapted
        model would count the first trials twice. This model is left as it is.

        Args:
            features: [n, D]; with n = 0 the new model equals this one.
            gflops: [n] throughput.
            prior: what may move, and how far.
            seed: of minibatches and samples; the closed form draws nothing.

        Raises:
            ValueError: data that cannot be learned from.
            RuntimeError: this model was never fitted, or Adam broke down again and again.
        """
        state = self.state
        x, y = check_trials(features, gflops, width=state.scaler.width, min_rows=0)
        if len(y):
            if prior.offset is not None:
                state = fit_offset(state, x, y, prior.offset)
            if isinstance(prior, ClosedFormMAP):
                state = closed_form(state, x, y, prior)
            else:
                inputs, targets = state.scaler.inputs(x), state.scaler.targets(y)
                sequence = np.random.SeedSequence(seed)
                state = training().train_target(
                    state, self.config, prior, inputs, targets, sequence
                )
        tuned = DeepGP(self.config)
        tuned._hold(state)
        return tuned

    def predict(self, features: ArrayLike) -> Prediction:
        """Predictive distribution at features [N, D], the spread of the hidden layers included."""
        mean, var = self._cached().predict(self._checked(features))
        return Prediction(mean, np.sqrt(var))

    def predict_mean(self, features: ArrayLike) -> Array:
        """Mean [N] of log2 throughput alone, in single precision: the score of a search."""
        return self._cached().predict_mean(self._checked(features))

    def save(self, folder: Path) -> None:
        """Write parameters.npz and config.json to `folder`."""
        folder = Path(folder)
        state = self.state
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / _PARAMETERS, state)
        write_config(folder, _KIND, {"config": dataclasses.asdict(self.config)})

    @classmethod
    def of_target(
        cls, config: DGPConfig, features: ArrayLike, gflops: ArrayLike, *, seed: int
    ) -> Self | None:
        """A model of a target alone, for a task without sources; None from too few trials.

        Args:
            config: as for sources; inducing points and steps are cut to what so few trials need.
            features: [n, D].
            gflops: [n] throughput.
            seed: as of `fit`.
        """
        n = len(np.asarray(gflops))
        if n < MIN_ROWS:
            return None
        few = min(config.inducing, n)
        model = cls(dataclasses.replace(config, inducing=few, steps=min(config.steps, ALONE_STEPS)))
        model.fit(features, gflops, seed=seed)
        return model

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; predictions are equal bit for bit.

        Raises:
            ValueError: `folder` holds no deep GP, or a damaged one.
        """
        content = read_config(folder, _KIND)
        try:
            config = DGPConfig(**content["config"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder}: config.json is not that of a deep GP ({error})") from error
        model = cls(config)
        model._hold(read_arrays(Path(folder) / _PARAMETERS, config.layers, config.kernel))
        return model

    def _hold(self, state: DGPState) -> None:
        self._predictor = CachedPredictor(state, linearise=True)
        self._state = state

    def _cached(self) -> CachedPredictor:
        if self._predictor is None:
            raise RuntimeError("this DeepGP was never fitted")
        return self._predictor

    def _checked(self, features: ArrayLike) -> Array:
        return check_features(features, self.state.scaler.width)


def limit_threads(intra: int, inter: int = 1) -> None:
    """Set the threads of TensorFlow for this process; see `train.limit_threads`."""
    training().limit_threads(intra, inter)


def training() -> ModuleType:
    """`train.py`, imported when needed: TensorFlow takes seconds, and only training needs it.

    TensorFlow's libraries print half a dozen lines on standard error while they load, before any
    log level of theirs holds; they go nowhere here.
    """
    if "dgtl.models.deep_gp.train" not in sys.modules:
        kept = os.dup(2)
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
            try:
                importlib.import_module("dgtl.models.deep_gp.train")
            finally:
                os.dup2(kept, 2)
                os.close(kept)
    return sys.modules["dgtl.models.deep_gp.train"]
