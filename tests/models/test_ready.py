"""The model that comes with the program is the one that it would train today."""

import zipfile

import numpy as np
import pytest
import toys
from hydra.utils import instantiate

from dgtl.core.history import SHIPPED, History
from dgtl.features.dataset import source_data
from dgtl.models import ready
from dgtl.models.cache import keep
from dgtl.models.xgb import XGBConfig, XGBModel
from dgtl.run.settings import composed

pytestmark = pytest.mark.slow  # The shipped history is read.

TUNED = [toys.tuned(toys.dense(), toys.space_of(toys.dense()), 40, 0)]
SETTINGS = {"seed": 0}


@pytest.fixture(scope="module")
def sources():
    history = History.read(SHIPPED)
    return history.sources(next(iter(history)).task.hardware, any_hardware=True)


def test_the_ready_model_is_todays(sources):
    """Else `dgtl tune` trains for minutes at its first call: python scripts/make_model.py"""
    method = instantiate(composed(["budget=seconds"], {}).model)
    name = ready.name_of(sources, method.learning_settings(0))
    assert [path.stem for path in ready.FOLDER.glob("*.zip")] == [name]


def test_the_ready_model_learned_todays_features(sources, tmp_path):
    (path,) = ready.FOLDER.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        archive.extract("features.npz", tmp_path)
    features, _, _ = source_data(sources)
    with np.load(tmp_path / "features.npz") as kept:
        np.testing.assert_allclose(features.mean(axis=0), kept["mean"], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(features.std(axis=0), kept["std"], rtol=1e-3, atol=1e-3)


def test_what_is_packed_is_loaded_for_the_same_trials_and_settings_only(tmp_path):
    features, gflops, _ = source_data(TUNED)
    model = XGBModel(XGBConfig(trees=3))
    model.fit(features, gflops, seed=0)
    keep(model, tmp_path / "kept", 12.0)
    ready.keep_ready(tmp_path / "kept", ready.name_of(TUNED, SETTINGS), tmp_path)
    found = ready.load_ready(TUNED, SETTINGS, tmp_path)
    assert found is not None
    loaded, seconds = found
    assert seconds == 12.0
    np.testing.assert_array_equal(loaded.predict_mean(features), model.predict_mean(features))
    assert ready.load_ready(TUNED, {"seed": 1}, tmp_path) is None
    other = [toys.tuned(toys.dense(), toys.space_of(toys.dense()), 40, 1)]
    assert ready.load_ready(other, SETTINGS, tmp_path) is None


def test_equal_models_are_equal_files(tmp_path):
    features, gflops, _ = source_data(TUNED)
    packed = []
    for number in range(2):
        model = XGBModel(XGBConfig(trees=3))
        model.fit(features, gflops, seed=0)
        keep(model, tmp_path / f"kept{number}", 12.0)
        packed.append(ready.keep_ready(tmp_path / f"kept{number}", "name", tmp_path).read_bytes())
    assert packed[0] == packed[1]
