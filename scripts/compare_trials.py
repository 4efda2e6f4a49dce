"""Whether runs made the same trials: of two revisions, two machines, or before and after a change.

    python scripts/compare_trials.py BEFORE AFTER [BEFORE AFTER ...]

Each is the folder of a run. Compared are tasks, configurations, stages, outcomes and predictions,
in their order; what a clock says is left out. A line for each pair says where they part; the exit
code is 1 if any do.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dgtl.core.history import History, HistoryError

if TYPE_CHECKING:
    from dgtl.core.records import Trial

PREDICTION_RTOL = 1e-3
"""Predictions may differ by so much, relatively: libraries of another machine round otherwise."""


def trials_of(folder: Path) -> list[Trial]:
    """All trials of a run, in the order of its tasks."""
    return [trial for task in History.read(folder / "trials.jsonl") for trial in task.trials]


def same(one: Trial, other: Trial) -> bool:
    """Whether two trials are of the same configuration, with the same outcome and prediction."""
    facts = [(t.task, t.config, t.stage, t.status, t.run_times_s) for t in (one, other)]
    a, b = one.predicted_gflops, other.predicted_gflops
    if a is None or b is None:
        return facts[0] == facts[1] and a == b
    return facts[0] == facts[1] and math.isclose(a, b, rel_tol=PREDICTION_RTOL)


def compared(before: Path, after: Path) -> tuple[bool, str]:
    """Whether two runs are the same, and what to say of them."""
    one, other = trials_of(before), trials_of(after)
    pairs = list(zip(one, other, strict=False))
    parted = next((i for i, (a, b) in enumerate(pairs) if not same(a, b)), len(pairs))
    if parted == len(one) == len(other):
        return True, f"same: {len(one)} trials"
    if parted == len(pairs):
        return False, f"one ends first: {len(one)} and {len(other)} trials"
    a, b = pairs[parted]
    return False, f"they part at trial {parted + 1}: {a.config} ({a.stage}), {b.config} ({b.stage})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="BEFORE AFTER")
    folders = parser.parse_args().folders
    if len(folders) % 2:
        sys.exit("compare_trials: folders come in pairs")
    all_same = True
    for before, after in zip(folders[::2], folders[1::2], strict=True):
        try:
            are_same, text = compared(before, after)
        except HistoryError as error:
            sys.exit(f"compare_trials: {error}")
        all_same &= are_same
        print(f"{before} {after}: {text}")
    sys.exit(0 if all_same else 1)


if __name__ == "__main__":
    main()
