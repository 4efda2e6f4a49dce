"""A TVM RPC tracker as its clients see it: which devices there are, and who gets one next.

TVM's own client waits without a limit, and for whom it waits it does not say. Here a request is
asked for and looked at, so that waiting for a device and using it are limited apart.
"""

from __future__ import annotations

import dataclasses
import select
import socket
import struct
from typing import Any

from tvm.rpc import base

ANSWER_S = 5.0
"""A tracker answers at once; one that does not within this is as good as gone."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """A device that the tracker gives away: where it listens, and the key to it, good for once."""

    host: str
    port: int
    match_key: str

    @property
    def device(self) -> str:
        """Which device it is."""
        return f"{self.host}:{self.port}"


class Tracker:
    """The devices of one key; `withdraw` ends what is open.

    Args:
        host, port: of the tracker.
        key: of the devices.
    """

    def __init__(self, host: str, port: int, key: str):
        self._address, self.key = (host, port), key
        self._request: socket.socket | None = None

    def __str__(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    @property
    def here(self) -> bool:
        """Whether it is on this machine, and reached by nobody else: so are its devices."""
        try:
            return socket.gethostbyname(self._address[0]).startswith("127.")
        except OSError:
            return False

    def servers(self) -> int:
        """How many servers there are with the key, busy ones included.

        Raises:
            OSError: the tracker does not answer.
        """
        with self._connected() as connection:
            _, summary = self._ask(connection, [base.TrackerCode.SUMMARY])
        keys = [info.get("key", "") for info in summary["server_info"]]
        return keys.count(f"server:{self.key}")

    def offer(self) -> Offer | None:
        """A device that is free; None as long as there is none. Asks for one, and never waits.

        Raises:
            OSError: the tracker does not answer, or went away.
        """
        if self._request is None:
            self._request = self._connected()
            base.sendjson(self._request, [base.TrackerCode.REQUEST, self.key, "", 1])
        if not select.select([self._request], [], [], 0)[0]:
            return None
        request, self._request = self._request, None
        with request:
            code, found = base.recvjson(request)
        if code != base.TrackerCode.SUCCESS:
            raise OSError(f"the tracker at {self} refuses a device")
        host, port, match_key = found
        return Offer(str(host), int(port), str(match_key))

    def withdraw(self) -> None:
        """Asks for no device any more."""
        if self._request is not None:
            self._request.close()
            self._request = None

    def _connected(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=ANSWER_S)
        try:
            connection.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            if base.recvall(connection, 4) != struct.pack("<i", base.RPC_TRACKER_MAGIC):
                raise OSError(f"{self} is no TVM RPC tracker")
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _ask(connection: socket.socket, message: list[Any]) -> Any:
        base.sendjson(connection, message)
        return base.recvjson(connection)
