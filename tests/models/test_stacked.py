"""The stacked deep GP, the per-task GP on its residuals, and which configurations run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from residual_tasks import TASKS, residual_tasks

from dgtl.models import load_model
from dgtl.models.deep_gp.model import DGPConfig
from dgtl.models.residual_gp.gp import (
    ResidualGPConfig,
)
from dgtl.models.stacked import StackConfig, StackedDGP
from dgtl.models.xgb import XGBConfig

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

NETWORK = DGPConfig(hidden=2, inducing=24, steps=60, batch=128)
STACK = StackConfig(
    XGBConfig(trees=60, rate=0.2, nthread=1), folds=3, residual=ResidualGPConfig(steps=120)
)


@pytest.fixture(scope="module")
def stacked() -> StackedDGP:
    x, y, task = residual_tasks()
    model = StackedDGP(NETWORK, STACK)
    model.fit(x, np.exp2(y), seed=0, task=task, layer=task)
    return model


def test_observed_after_the_tuning_is_as_good_as_before(stacked: StackedDGP) -> None:
    """Conditioning the joint prediction on trials is what tuning to them does."""
    x, y, _ = residual_tasks(2)
    rest, known, gflops = x[7:20], np.r_[20:25, :7], np.exp2(y)
    tuned = stacked.adapt(x[known], gflops[known], x)
    before = stacked.adapt(x[20:25], gflops[20:25], x)
    mean, covariance = before.joint(rest, (x[:7], gflops[:7]))
    np.testing.assert_allclose(mean, tuned.joint(rest)[0], atol=1e-4)
    np.testing.assert_allclose(covariance, tuned.joint(rest)[1], atol=1e-4)


def test_saved_model_predicts_bit_for_bit(stacked: StackedDGP, tmp_path: Path) -> None:
    stacked.save(tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, StackedDGP)
    x, y, _ = residual_tasks(1)
    for a, b in (
        (stacked, loaded),
        (stacked.adapt(x[:9], 2 ** y[:9], x), loaded.adapt(x[:9], 2 ** y[:9], x)),
    ):
        np.testing.assert_array_equal(a.predict(x).mean, b.predict(x).mean)
        np.testing.assert_array_equal(a.predict(x).std, b.predict(x).std)


def test_damaged_folder_is_refused_in_one_line(stacked: StackedDGP, tmp_path: Path) -> None:
    stacked.save(tmp_path)
    (tmp_path / "residual.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"residual\.npz"):
        StackedDGP.load(tmp_path)


def test_without_trials_the_tuned_model_is_the_source(stacked: StackedDGP) -> None:
    x, _, _ = residual_tasks(2)
    tuned = stacked.adapt(np.empty((0, 3)), np.empty(0), x)
    np.testing.assert_array_equal(tuned.predict_mean(x), stacked.predict_mean(x))
    assert (tuned.predict(x).std < stacked.predict(x).std).all()  # it knows what the best is like


def test_joint_distribution_has_the_marginals_of_the_predictive_one(stacked: StackedDGP) -> None:
    x, y, _ = residual_tasks(3)
    tuned = stacked.adapt(x[:9], 2 ** y[:9], x)
    mean, covariance = tuned.joint(x)
    predicted = tuned.predict(x)
    np.testing.assert_allclose(mean, predicted.mean)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), predicted.std)


def test_trials_of_a_task_lower_the_error_on_the_rest_of_it(stacked: StackedDGP) -> None:
    x, y, task = residual_tasks(3)
    before, after = [], []
    for t in range(TASKS):
        own, rest = np.flatnonzero(task == t)[:20], np.flatnonzero(task == t)[20:]
        tuned = stacked.adapt(x[own], 2 ** y[own], x[task == t])
        before.append(np.mean((stacked.predict_mean(x[rest]) - y[rest]) ** 2))
        after.append(np.mean((tuned.predict_mean(x[rest]) - y[rest]) ** 2))
    assert np.mean(after) < 0.5 * np.mean(before), (np.mean(after), np.mean(before))


def test_a_model_without_its_trees_is_refused(stacked: StackedDGP, tmp_path: Path) -> None:
    stacked.save(tmp_path)
    (tmp_path / "trees").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="trees"):
        StackedDGP.load(tmp_path)
