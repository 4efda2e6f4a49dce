"""Records from JSON that others wrote: every field there, and of its type."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

MOST_SHOWN = 200
"""Characters of a message: what is wrong may be of any length."""


def typed(kind: type[T], record: Mapping[str, Any]) -> T:
    """A dataclass from the values of its fields, as JSON has them; other values are left out.

    Raises:
        ValueError: a field is missing, or of another type.
    """
    try:
        found: T = _adapter(kind).validate_python(record)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}"[:MOST_SHOWN]) from None
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def check_schema(record: Any, newest: int, what: str) -> None:
    """Raises ValueError if a record is none, or was written by a newer program."""
    schema = record.get("schema", 0) if isinstance(record, dict) else None
    if not isinstance(schema, int):
        raise ValueError(f"{what} schema {str(schema)[:40]} is no number")
    if schema > newest:
        raise ValueError(
            f"{what} schema {schema} is newer than this program's ({newest}): update dgtl"
        )
