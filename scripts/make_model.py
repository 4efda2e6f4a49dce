"""Makes the model that comes with the program: of the shipped history, by the default settings.

    python scripts/make_model.py                # minutes; again after a change of any of these

`tests/models/test_ready.py` says whether the model that is there is today's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from hydra.utils import instantiate

from dgtl.core.history import SHIPPED, History, SourceTask
from dgtl.features.dataset import source_data
from dgtl.methods.dgp import DGP
from dgtl.models.cache import fingerprint
from dgtl.models.ready import keep_ready, name_of
from dgtl.run.settings import composed

SEED = 0
"""The one of a run where nothing is said."""


def shipped_sources() -> list[SourceTask]:
    """What `dgtl tune` learns from beside the local history."""
    history = History.read(SHIPPED)
    (kind,) = {source.task.hardware.kind for source in history}
    assert kind == "llvm", "a model for each kind of target, where there are several"
    return history.sources(next(iter(history)).task.hardware, any_hardware=True)


def default_method() -> DGP:
    """The method with the settings that a user gets."""
    method = instantiate(composed(["budget=seconds"], {}).model)
    assert isinstance(method, DGP)
    return method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cache", type=Path, default=Path("outputs/models"), help="of models that were trained"
    )
    args = parser.parse_args()
    method, sources = default_method(), shipped_sources()
    settings = method.learning_settings(SEED)
    features, gflops, _ = source_data(sources)
    kept = args.cache / f"dgp-{fingerprint(features, gflops, settings)}"
    if not kept.exists():
        seconds = method.prepare_timed(sources, args.cache, SEED)
        print(f"trained in {seconds:.0f} s")
    np.savez_compressed(kept / "features.npz", mean=features.mean(axis=0), std=features.std(axis=0))
    path = keep_ready(kept, name_of(sources, settings))
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, of {len(features)} trials")


if __name__ == "__main__":
    main()
