"""The card of a built network, ``card.json``: what it takes, gives and needs, how it was made."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

from dgtl.core.files import read_object, write_whole
from dgtl.core.limits import MOST_EXTENT
from dgtl.core.typed import check_schema, typed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CARD_SCHEMA = 1
"""Version of ``card.json``; a reader refuses a newer one."""

CARD = "card.json"

DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
"""Types that a network's inputs and outputs may have, as NumPy calls them."""


@dataclasses.dataclass(frozen=True)
class Value:
    """An input or output: its name, its type as NumPy calls it, its shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, name: str, value: NDArray[Any]) -> Value:
        """What an array under this name is."""
        return cls(name, str(value.dtype), tuple(value.shape))

    def check(self) -> None:
        """Raises ValueError where it is no array of numbers."""
        if self.dtype not in DTYPES or not all(0 <= n <= MOST_EXTENT for n in self.shape):
            raise ValueError(f"{self.name[:40]}: {self.dtype[:40]} of such a shape is no array")

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Card:
    """What ``model.so`` takes, gives and needs, and how it was made.

    Args:
        inputs, outputs: of ``model.so``, in their order.
        results: names of what the network gives; those of its outputs, unless a ``tail.onnx``
            comes after it.
        hardware, target, num_cores: what it was built for, see `dgtl.core.records.Hardware`.
        cpu_features: of the processor that it was built on, which its kernels may use.
        versions: of dgtl, TVM and tvm_ffi.
        relative_error: largest error of an output against ONNX Runtime, of the output's largest
            value; None where ONNX Runtime does not run the network.
        untuned_latency_ms, latency_ms: of the network without and with its schedules; the first
            is None where it was not timed.
        search_s, trials: what the search took.
        command, date: how and when it was made.
        schema: version of this record.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    results: tuple[str, ...]
    hardware: str
    target: str
    num_cores: int
    cpu_features: tuple[str, ...]
    versions: dict[str, str]
    relative_error: float | None
    untuned_latency_ms: float | None
    latency_ms: float
    search_s: float
    trials: int
    command: str
    date: str
    schema: int = CARD_SCHEMA

    def write(self, folder: Path) -> None:
        """Writes ``card.json``."""
        text = json.dumps(dataclasses.asdict(self), indent=2)
        write_whole(folder / CARD, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Inverse of `write`.

        Raises:
            ValueError: there is no such file, it is damaged, or of a newer program.
        """
        path = folder / CARD
        if not path.is_file():
            raise ValueError(f"{folder}: no {CARD} here: give a folder that dgtl tune made")
        try:
            record = read_object(path)
            check_schema(record, CARD_SCHEMA, "card")
            card = typed(cls, record)
            card._check()
        except ValueError as error:
            raise ValueError(f"{path} cannot be used: {error}") from error
        return card

    def _check(self) -> None:
        """Raises ValueError for what no network of ours has."""
        for value in (*self.inputs, *self.outputs):
            value.check()
        if not self.outputs:
            raise ValueError("a network without outputs")
        if missing := [name for name in ("dgtl", "tvm", "tvm_ffi") if name not in self.versions]:
            raise ValueError(f"versions: {missing[0]} is missing")
        if not 0 < self.latency_ms < math.inf:
            raise ValueError(f"latency_ms is {self.latency_ms}")

    def lacking(self, cpu_features: tuple[str, ...]) -> list[str]:
        """Features of the processor that kernels may use and that are not among these."""
        return [name for name in self.cpu_features if name not in cpu_features]
