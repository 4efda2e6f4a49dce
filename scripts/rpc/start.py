"""Starts a TVM RPC tracker and servers, and says how another machine joins.

    python scripts/rpc/start.py --servers 2
    python scripts/rpc/start.py --servers 0 --host 192.168.0.1

Then, here or wherever the tracker can be reached:

    python run.py measure=rpc measure.rpc.key=dgtl hardware.num_cores=1

Several servers on one machine share its cores evenly, each its own as far as they go. Everything
ends with this program: Ctrl-C. It listens on loopback; with --host on another address, where
whoever reaches it can do what you can: docs/rpc.md.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tvm.rpc.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence


def shares(cores: Sequence[int], n: int) -> list[list[int]]:
    """The cores of each of ``n`` servers: equal parts, or all for all where there are too few."""
    part = len(cores) // n if n else 0
    if not part:
        return [list(cores)] * n
    return [list(cores[i * part : (i + 1) * part]) for i in range(n)]


def server_command(tracker: str, key: str, host: str, more: Sequence[str] = ()) -> list[str]:
    """What starts a server."""
    command = ["python", "-m", "dgtl.tvm.rpc.server", "--tracker", tracker, "--key", key]
    return [*command, "--host", host, *more]


def start_servers(tracker: str, key: str, host: str, n: int) -> list[subprocess.Popen]:
    """Starts servers on this machine."""
    cores = shares(sorted(os.sched_getaffinity(0)), n)
    return [
        subprocess.Popen(
            [
                sys.executable,
                *server_command(tracker, key, host, ("--cores", ",".join(map(str, cores[i]))))[1:],
            ]
        )
        for i in range(n)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", type=int, default=1, help="on this machine (%(default)s)")
    parser.add_argument("--key", default="dgtl", help="of the devices (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=9190, help="of the tracker (%(default)s)")
    args = parser.parse_args()
    try:
        tracker = Tracker(args.host, port=args.port, port_end=args.port + 1, silent=True)
    except Exception as error:
        sys.exit(f"error: no tracker on {args.host}:{args.port}: {str(error).splitlines()[-1]}")
    address = f"{args.host}:{args.port}"
    servers = start_servers(address, args.key, args.host, args.servers)
    print(f"tracker on {address}; tune with")
    print(
        f"    python run.py measure=rpc measure.rpc.host={args.host} measure.rpc.port={args.port} "
        f"measure.rpc.key={args.key}"
    )
    if socket.gethostbyname(args.host).startswith("127."):
        print("--host=ADDRESS lets other machines join, whom you trust: see docs/rpc.md")
    else:
        print("another machine joins by")
        print(f"    {' '.join(server_command(address, args.key, 'ITS_ADDRESS'))}")
        print("whoever reaches these ports can do here what you can: see docs/rpc.md")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
        tracker.terminate()


if __name__ == "__main__":
    main()
