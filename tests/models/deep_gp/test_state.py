"""A model's arrays come back from disk as they were, or not at all; the scaler keeps its range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import random_states
from hypothesis import given, settings
from hypothesis import strategies as st

from dgtl.models.base import CONSTANT
from dgtl.models.deep_gp.state import DGPConfig, DGPState, Scaler, read_arrays, write_arrays

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32)


# --- scaler --------------------------------------------------------------------------------


@few
@given(seeds)
def test_scaler_makes_mean_zero_and_variance_one_of_every_column_that_varies(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(loc=rng.normal(size=4), scale=rng.uniform(0.1, 5.0, size=4), size=(30, 4))
    x[:, 1] = 7.0
    y = rng.normal(loc=3.0, scale=2.0, size=30)
    scaler = Scaler.of(x, y)
    assert scaler.width == 4
    assert scaler.columns.tolist() == [0, 2, 3]
    inputs = scaler.inputs(x)
    np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(inputs.std(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(scaler.targets(y), (y - y.mean()) / y.std(), rtol=1e-12)
    np.testing.assert_array_equal(scaler.x_range, [x[:, [0, 2, 3]].min(0), x[:, [0, 2, 3]].max(0)])


@few
@given(seeds)
def test_beyond_the_range_of_the_source_counts_as_its_end(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 3))
    scaler = Scaler.of(x, rng.normal(size=20))
    ends = np.stack([x.min(axis=0), x.max(axis=0)])
    beyond = ends + np.array([[-5.0], [5.0]])
    np.testing.assert_array_equal(scaler.inputs(beyond), scaler.inputs(ends))
    np.testing.assert_allclose(scaler.inputs(x), (x - x.mean(axis=0)) / x.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("level", [0.0, 1.0, 1000.0, -1000.0])
@pytest.mark.parametrize(("share", "kept"), [(0.5, 1), (2.0, 2)])
def test_a_column_is_constant_if_it_varies_by_less_than_a_millionth_of_its_mean(level, share, kept):
    """Of one at least, so that columns about zero may be constant too."""
    noise = np.tile([-1.0, 1.0], 10)
    deviation = share * CONSTANT * max(1.0, abs(level))
    x = np.stack([noise, level + deviation * noise], axis=1)
    assert len(Scaler.of(x, noise).columns) == kept


def test_nothing_but_constants_is_refused():
    with pytest.raises(ValueError, match=r"^every feature is constant: there is nothing to learn"):
        Scaler.of(np.ones((5, 3)), np.arange(5.0))


def test_equal_targets_stay_in_units_of_log2_gflops():
    x = np.arange(10.0)[:, None]
    scaler = Scaler.of(x, np.full(10, 4.0))
    assert (scaler.y_mean, scaler.y_std) == (4.0, 1.0)
    assert scaler.targets(np.array([6.0])).tolist() == [2.0]


# --- arrays --------------------------------------------------------------------------------


@few
@given(seeds, st.sampled_from([(1,), (2, 1), (3, 2, 1)]), st.sampled_from(["matern52", "rbf"]))
def test_arrays_and_state_are_inverse(seed, widths, kernel):
    state = random_states.random_state(seed, widths, kernel)
    copy = DGPState.from_arrays(state.arrays(), len(widths), kernel)
    assert copy.kernel == kernel
    assert (copy.noise, copy.jitter) == (state.noise, state.jitter)
    assert (copy.scaler.width, copy.scaler.y_mean, copy.scaler.y_std) == (5, 5.0, 1.7)
    assert copy.scaler.columns.dtype == np.int64
    assert copy.arrays().keys() == state.arrays().keys()
    for name, array in state.arrays().items():
        np.testing.assert_array_equal(copy.arrays()[name], array)


def test_arrays_have_the_names_that_are_on_disk():
    """Models that were kept are read by these names: a change needs a new `SCHEMA`."""
    fields = ("variance", "lengthscales", "inducing", "q_mu", "q_sqrt", "mean_a", "mean_b")
    scaling = ("width", "columns", "x_mean", "x_std", "x_range", "y")
    expected = {f"layer{i}.{field}" for i in (0, 1) for field in fields}
    expected |= {f"scaler.{field}" for field in scaling} | {"noise", "jitter"}
    assert set(random_states.random_state(0).arrays()) == expected


def test_a_file_holds_what_was_written(tmp_path):
    state = random_states.random_state(3)
    path = tmp_path / "parameters.npz"
    write_arrays(path, state)
    copy = read_arrays(path, 2, "matern52")
    for name, array in state.arrays().items():
        np.testing.assert_array_equal(copy.arrays()[name], array)
    with np.load(path) as stored:
        plain = sum(array.nbytes for array in stored.values()) + 300 * len(stored)
    assert path.stat().st_size < plain


def test_single_precision_on_disk_is_read_as_double():
    named = {
        k: np.asarray(v, np.float32) for k, v in random_states.random_state(0).arrays().items()
    }
    state = DGPState.from_arrays(named, 2, "rbf")
    for name, array in state.arrays().items():
        wanted = np.int64 if name in ("scaler.columns", "scaler.width") else np.float64
        assert array.dtype == wanted


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.pop("noise"), r"^arrays missing or unknown: \['noise'\]$"),
        (lambda a: a.pop("layer1.q_mu"), r"missing or unknown: \['layer1.q_mu'\]"),
        (lambda a: a.update(extra=np.ones(2)), r"missing or unknown: \['extra'\]"),
        (lambda a: a.update(noise=np.asarray(np.nan)), "^arrays hold nan or inf$"),
        (lambda a: a["layer0.inducing"].__setitem__((0, 0), np.inf), "^arrays hold nan or inf$"),
        (lambda a: a.update({"layer0.mean_b": np.ones(3)}), "^shapes of layer 0 disagree$"),
        (lambda a: a.update({"layer1.inducing": np.ones((6, 3))}), "^shapes of layer 1 disagree$"),
        (lambda a: a.update({"layer1.variance": np.ones(1)}), "^shapes of layer 1 disagree$"),
        (lambda a: a.update({"layer1.q_sqrt": np.ones((2, 6, 6))}), "^shapes of layer 1"),
        (lambda a: a.update({"layer0.lengthscales": np.ones(4)}), "^shapes of layer 0 disagree$"),
        (lambda a: a.update({"layer0.mean_a": np.ones((2, 3))}), "^shapes of layer 0 disagree$"),
    ],
)
def test_arrays_that_are_no_model_are_refused(spoil, message):
    named = dict(random_states.random_state(0).arrays())
    spoil(named)
    with pytest.raises(ValueError, match=message):
        DGPState.from_arrays(named, 2, "matern52")


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "bit", "text", "layers", "pickle"])
def test_a_damaged_file_is_refused_by_its_path(damage, tmp_path):
    path = tmp_path / "parameters.npz"
    state = random_states.random_state(0)
    write_arrays(path, state)
    good = path.read_bytes()
    middle = len(good) // 2
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":
        np.savez(path, **{**state.arrays(), "noise": np.array([None])})
    else:
        path.write_bytes(
            {
                "empty": b"",
                "half": good[:middle],
                "bit": good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :],
                "text": b"not an archive",
                "layers": good,
            }[damage]
        )
    with pytest.raises(ValueError, match=r"parameters\.npz: not the parameters of this model \(."):
        read_arrays(path, 3 if damage == "layers" else 2, "matern52")


# --- settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layers", "hidden", "inducing", "steps", "batch"])
def test_counts_are_at_least_one(name):
    assert getattr(DGPConfig(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=rf"^DGPConfig\.{name} must be at least 1, got 0$"):
        DGPConfig(**{name: 0})


@pytest.mark.parametrize("name", ["learning_rate", "jitter", "noise_floor"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_rates_are_positive(name, value):
    with pytest.raises(ValueError, match=rf"^DGPConfig\.{name} must be positive, got "):
        DGPConfig(**{name: value})


def test_names_are_of_those_there_are():
    with pytest.raises(ValueError, match=r"^DGPConfig\.kernel must be one of .*, got 'linear'$"):
        DGPConfig(kernel="linear")
    for kernel in ("matern52", "rbf"):
        assert dataclasses.asdict(DGPConfig(kernel=kernel))["kernel"] == kernel
