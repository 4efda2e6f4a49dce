"""The design space of a task: knobs, and configurations as arrays of knob indices.

numpy only: searching never touches TVM. A configuration of a space with K knobs is a row of K
indices; whole batches [N, K] are sampled, mutated and keyed at once.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dgtl.core.knob import MOST_OPTIONS, Knob
from dgtl.core.typed import check_schema, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dgtl.core.records import Trial

Configurations = NDArray[np.int32]
"""Configurations [N, K]: one index per knob."""

SPACE_SCHEMA = 1

MOST_DRAWS = 10_000_000
"""Draws after which a space counts as one without a configuration that is accepted."""

MOST_ROUNDS = 64
"""Rounds of drawing after which a space counts as having no further distinct configuration."""

MOST_MOVES = 8
"""Draws of a neighbour before a configuration stays where it is."""


MOST_KNOBS = 256
MOST_LEVELS = 16


@dataclasses.dataclass(frozen=True)
class _Space:
    """What JSON has of a design space."""

    structure: str
    knobs: tuple[dict[str, Any], ...]


class DesignSpace:
    """All deployment configurations of a task.

    Args:
        knobs: the choices, the sketch first where there is more than one kind of schedule.
        structure: the tile levels from outermost to innermost, e.g. ``SSRSRS``: the p-th ``S`` is
            the p-th part of every spatial tile, the p-th ``R`` of every reduction tile.
        accepts: tells of configurations [N, K] which can run [N], where that is known without
            trying; what it refuses is never drawn. None: all can.
    """

    def __init__(
        self,
        knobs: tuple[Knob, ...],
        structure: str,
        accepts: Callable[[Configurations], NDArray[np.bool_]] | None = None,
    ):
        empty = [knob.name for knob in knobs if len(knob) == 0]
        if empty:
            raise ValueError(f"knobs without options: {', '.join(empty)}")
        self.knobs = knobs
        self.structure = structure
        self.sizes = np.array([len(knob) for knob in knobs], dtype=np.int64)
        self._free = np.flatnonzero(self.sizes > 1)
        self._accepts = accepts

    @property
    def size(self) -> int:
        """Number of configurations (exact, of any magnitude)."""
        return math.prod(int(n) for n in self.sizes)

    def __len__(self) -> int:
        return self.size

    def accepts(self, configs: Configurations) -> NDArray[np.bool_]:
        """Which of N configurations [N, K] may be tried [N]."""
        if self._accepts is None:
            return np.ones(len(configs), dtype=bool)
        return self._accepts(configs)

    def sample(self, rng: np.random.Generator, n: int) -> Configurations:
        """``n`` configurations [n, K], uniform over those accepted; repeats are possible.

        Raises:
            ValueError: of `MOST_DRAWS` none is accepted.
        """
        if self._accepts is None:
            return self._draw(rng, n)
        found: list[Configurations] = []
        n_found = n_drawn = 0
        while n_found < n:
            drawn = self._draw(rng, max(4 * n, 4096))
            found.append(drawn[self._accepts(drawn)])
            n_found += len(found[-1])
            n_drawn += len(drawn)
            if n_found == 0 and n_drawn > MOST_DRAWS:
                raise ValueError(f"of {n_drawn} configurations none keeps to the device's limits")
        return np.concatenate([*found, self._draw(rng, 0)])[:n]

    def _draw(self, rng: np.random.Generator, n: int) -> Configurations:
        return rng.integers(0, self.sizes, size=(n, len(self.knobs)), dtype=np.int32)

    def sample_distinct(self, rng: np.random.Generator, n: int) -> Configurations:
        """At most ``n`` distinct configurations [<=n, K]; all of them if there are no more."""
        if self.size <= 4 * n:
            # Drawing until something new turns up would take ever longer near the end of a space.
            every = self.at(rng.permutation(self.size))
            return every[self.accepts(every)][:n]
        found = self.unique(self.sample(rng, n))
        for _ in range(MOST_ROUNDS):
            if len(found) >= n:
                break
            found = self.unique(np.concatenate([found, self.sample(rng, n - len(found))]))
        return found[:n]

    def neighbours(self, rng: np.random.Generator, configs: Configurations) -> Configurations:
        """One neighbour per row [N, K]: one random knob takes another random value.

        A row of which some draws are refused stays where it is.
        """
        proposals = self._moved(rng, configs)
        for _ in range(MOST_MOVES if self._accepts is not None else 0):
            refused = np.flatnonzero(~self.accepts(proposals))
            if len(refused) == 0:
                return proposals
            proposals[refused] = self._moved(rng, configs[refused])
        stay = ~self.accepts(proposals)
        proposals[stay] = configs[stay]
        return proposals

    def _moved(self, rng: np.random.Generator, configs: Configurations) -> Configurations:
        proposals = configs.copy()
        if len(self._free) == 0:
            return proposals
        rows = np.arange(len(configs))
        knobs = self._free[rng.integers(0, len(self._free), size=len(configs))]
        sizes = self.sizes[knobs]
        # A shift in 1..size-1, modulo size, is uniform over the other values.
        shift = 1 + (rng.random(len(configs)) * (sizes - 1)).astype(np.int64)
        proposals[rows, knobs] = (configs[rows, knobs] + shift) % sizes
        return proposals

    def unique(self, configs: Configurations) -> Configurations:
        """Distinct rows, in order of first appearance."""
        _, first = np.unique(configs, axis=0, return_index=True)
        return configs[np.sort(first)]

    def index(self, configs: Configurations) -> list[int]:
        """Rank of each configuration: mixed radix, the first knob least significant."""
        radix = [1]
        for n in self.sizes[:-1]:
            radix.append(radix[-1] * int(n))
        return [sum(int(i) * r for i, r in zip(row, radix, strict=True)) for row in configs]

    def at(self, indices: Any) -> Configurations:
        """Configurations [N, K] of given ranks: inverse of `index`."""
        rows = []
        for rank in indices:
            rest, row = int(rank), []
            for n in self.sizes:
                rest, digit = divmod(rest, int(n))
                row.append(digit)
            if rest or int(rank) < 0:
                raise ValueError(f"index {rank} lies outside a space of {self.size} configurations")
            rows.append(row)
        return np.array(rows, dtype=np.int32).reshape(-1, len(self.knobs))

    def key(self, config: NDArray[np.integer]) -> str:
        """Stable text of one configuration [K]: its knob indices, joined by dots."""
        return ".".join(str(int(i)) for i in config)

    def keys(self, configs: Configurations) -> list[str]:
        """`key` of each row."""
        return [self.key(row) for row in configs]

    def parse(self, key: str) -> NDArray[np.int32]:
        """Configuration [K] of a text key. Raises ValueError if the key is not of this space."""
        try:
            config = np.array([int(part) for part in key.split(".")], dtype=np.int32)
        except (ValueError, OverflowError):
            config = np.empty(0, dtype=np.int32)
        if len(config) != len(self.knobs) or (config < 0).any() or (config >= self.sizes).any():
            raise ValueError(
                f"'{key[:200]}' is no configuration of this space ({len(self.knobs)} knobs)"
            )
        return config

    def parse_all(self, keys: list[str]) -> Configurations:
        """`parse` of each key, as [N, K]."""
        return np.array([self.parse(k) for k in keys], dtype=np.int32).reshape(-1, len(self.knobs))

    def of_trials(self, trials: Iterable[Trial]) -> Configurations:
        """Configurations [N, K] of trials, in their order."""
        return self.parse_all([trial.config for trial in trials])

    def values(self, config: NDArray[np.integer]) -> dict[str, tuple[int, ...]]:
        """What a configuration [K] chooses, by knob name."""
        return {knob.name: knob.options[int(i)] for knob, i in zip(self.knobs, config, strict=True)}

    def to_json(self) -> dict[str, Any]:
        return {
            "type": "space",
            "schema": SPACE_SCHEMA,
            "structure": self.structure,
            "knobs": [knob.to_json() for knob in self.knobs],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> DesignSpace:
        """Inverse of `to_json`. Raises ValueError for a newer schema, or what is no space."""
        check_schema(record, SPACE_SCHEMA, "space")
        kept = typed(_Space, record)
        if not 1 <= len(kept.knobs) <= MOST_KNOBS or not 2 <= len(kept.structure) <= MOST_LEVELS:
            raise ValueError(f"a space of {len(kept.knobs)} knobs, {len(kept.structure)} levels")
        knobs: list[Knob] = []
        for knob in kept.knobs:
            knobs.append(Knob.from_json(knob))
            if sum(map(len, knobs)) > MOST_OPTIONS:
                raise ValueError("a space whose knobs have too many options")
        return cls(tuple(knobs), kept.structure)
