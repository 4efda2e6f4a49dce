"""Folders of replays, as if methods had tried the rows of tables in a given order."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import toys

from dgtl.core.history import SourceTask, TrialLog
from dgtl.results.summary import summarise

N_ROWS, N_TRIALS, N_SEEDS = 120, 40, 3


def write(path: Path, sources: list[SourceTask]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with TrialLog(path) as log:
        for source in sources:
            log.task(source.task, source.space)
            for trial in source.trials:
                log.trial(trial)


def run(root: Path, recorded, model: str, seed: int, order, **report) -> Path:
    """A run's folder, as if its method had tried the rows of every table in ``order``."""
    folder = root / "runs" / f"{model}-{seed}"
    results = [
        dataclasses.replace(
            source, trials=tuple(source.trials[i] for i in order(source, seed)[:N_TRIALS])
        )
        for source in recorded
    ]
    if not (root / "tables.jsonl").exists():
        write(root / "tables.jsonl", recorded)
    write(folder / "trials.jsonl", results)
    summary = summarise(
        results,
        workload="tables",
        model=model,
        hardware=toys.HARDWARE,
        seed=seed,
        pretrain_s=1.0,
        sources=[],
        untuned_latency_ms=None,
        latency_ms=None,
    )
    summary.write(folder / "summary.json")
    settings = {
        "tables": [str(root / "tables.jsonl")],
        "hardware": "toy-cpu",
        "min_rows": 1,
        "outside": "pool",
        "asked_outside": 0,
        "trials": N_TRIALS,
        "leave_out": "layer",
        "folds": {"all": [source.task.key for source in recorded]},
    }
    (folder / "replay.json").write_text(json.dumps({**settings, **report}))
    return folder


def at_random(source: SourceTask, seed: int) -> list[int]:
    entropy = [seed, len(source.task.key), int(source.task.flops)]
    return np.random.default_rng(entropy).permutation(N_ROWS).tolist()


def best_first(source: SourceTask, seed: int) -> list[int]:
    return np.argsort([trial.latency_s for trial in source.trials], kind="stable").tolist()
