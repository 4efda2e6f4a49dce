"""The host's end of a session with a device, in a worker process of its own.

TVM's client waits in native code for a device that hangs; a process can be ended.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm import rpc

from dgtl.tvm.rpc.server import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dgtl.tvm.rpc.tracker import Offer


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel that all devices time: its name, its library, the request that times it."""

    name: str
    library: str
    request: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Opened:
    """What a device says of itself when it is opened.

    Args:
        facts: of `dgtl.tvm.rpc.server.hello`.
        seconds: per run of each kernel of the calibration, by its name; empty where it was not
            asked for.
    """

    facts: dict[str, Any]
    seconds: dict[str, float]


_sessions: list[rpc.RPCSession] = []
"""The one that is open, if one is."""


def start(
    offer: Offer, timeout_s: float, num_threads: int | None, kernels: Sequence[Kernel]
) -> Opened:
    """Begins a session, and times the kernels of the calibration, if there are any.

    Its server ends it after ``timeout_s``.

    Raises:
        Exception: the device does not answer, or is none of dgtl's.
    """
    _sessions.append(rpc.connect(offer.host, offer.port, offer.match_key, timeout_s))
    facts = _answer("hello", {"num_threads": num_threads}, {})
    seconds = {}
    for kernel in kernels:
        files = {Path(kernel.library).name: kernel.library}
        seconds[kernel.name] = min(_answer("timings", dict(kernel.request), files)["times_s"])
    return Opened(facts, seconds)


def _answer(function: str, request: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    answer = ask(function, request, files, {})
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def ask(
    function: str, request: dict[str, Any], files: Mapping[str, str], wanted: Mapping[str, str]
) -> dict[str, Any]:
    """What one of `dgtl.tvm.rpc.server.FUNCTIONS` answers.

    Args:
        function: its name.
        request: its arguments.
        files: to send before, by the name that they have there.
        wanted: files to bring back after, by their name there.

    Raises:
        Exception: the device does not answer, or is none of dgtl's.
    """
    (session,) = _sessions
    for name, path in files.items():
        session.upload(path, name)
    answer = json.loads(session.get_function(PREFIX + function)(json.dumps(request)))
    if "error" not in answer:
        for name, path in wanted.items():
            Path(path).write_bytes(bytes(session.download(name)))
    return answer


def end() -> None:
    """Closes the session; the device is free for others."""
    while _sessions:
        _sessions.pop().get_function("CloseRPCConnection")()
