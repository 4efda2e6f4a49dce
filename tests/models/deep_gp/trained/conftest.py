"""Two models that the tests of this folder share; nothing changes a trained model."""

from __future__ import annotations

import dataclasses

import pytest
from deep_gp_trials import SMALL, trials

from dgtl.models.deep_gp.model import DeepGP


@pytest.fixture(scope="session")
def source() -> DeepGP:
    model = DeepGP(dataclasses.replace(SMALL, steps=400, inducing=40))
    model.fit(*trials(800, 0), seed=0)
    return model


@pytest.fixture(scope="session")
def shallow() -> DeepGP:
    model = DeepGP(dataclasses.replace(SMALL, layers=1, steps=150))
    model.fit(*trials(300, 0), seed=0)
    return model
