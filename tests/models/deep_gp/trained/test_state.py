"""A trained model comes back from disk as it was, without TensorFlow, or is refused."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from deep_gp_trials import SMALL, trials

from dgtl.models import load_model
from dgtl.models.deep_gp.map import ClosedFormMAP
from dgtl.models.deep_gp.model import DeepGP

pytestmark = pytest.mark.slow


def test_a_loaded_model_predicts_the_same(source: DeepGP, tmp_path) -> None:
    source.save(tmp_path / "model")
    x, _ = trials(100, 1)
    for loaded in (DeepGP.load(tmp_path / "model"), load_model(tmp_path / "model")):
        assert isinstance(loaded, DeepGP)
        assert loaded.config == source.config
        np.testing.assert_array_equal(loaded.predict(x).mean, source.predict(x).mean)
        np.testing.assert_array_equal(loaded.predict(x).std, source.predict(x).std)


def test_loading_and_predicting_need_no_tensorflow(source: DeepGP, tmp_path) -> None:
    source.save(tmp_path)
    code = (
        "import sys, pathlib, numpy as np; from dgtl.models import load_model;"
        f"load_model(pathlib.Path({str(tmp_path)!r})).predict(np.zeros((3, 10)));"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_foreign_or_damaged_folder_is_refused(source: DeepGP, tmp_path) -> None:
    with pytest.raises(ValueError, match="no saved model"):
        DeepGP.load(tmp_path)
    source.save(tmp_path)
    arrays, config = tmp_path / "parameters.npz", tmp_path / "config.json"
    good, text = arrays.read_bytes(), config.read_text()

    arrays.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="not the parameters"):
        DeepGP.load(tmp_path)
    middle = len(good) // 2
    arrays.write_bytes(good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :])
    with pytest.raises(ValueError, match="not the parameters"):
        DeepGP.load(tmp_path)
    np.savez(arrays, something=np.zeros(3))
    with pytest.raises(ValueError, match="not the parameters"):
        DeepGP.load(tmp_path)
    arrays.write_bytes(good)

    for key, value, message in (
        ("kind", "other", "not 'dgp'"),
        ("schema", 99, "schema 99"),
        ("config", {"depth": 3}, "not that of a deep GP"),
    ):
        config.write_text(json.dumps(json.loads(text) | {key: value}))
        with pytest.raises(ValueError, match=message):
            DeepGP.load(tmp_path)
    config.write_text(text.replace('"dgp"', '"other"'))
    with pytest.raises(ValueError, match="unknown kind"):
        load_model(tmp_path)


def test_a_model_never_fitted_says_so(tmp_path) -> None:
    model = DeepGP(SMALL)
    for call in (
        lambda: model.predict(np.zeros((1, 10))),
        lambda: model.save(tmp_path / "nothing"),
        lambda: model.adapt(np.zeros((1, 10)), np.ones(1), ClosedFormMAP(), seed=0),
    ):
        with pytest.raises(RuntimeError, match="never fitted"):
            call()
