"""The web process: `python -m opencode_site.web` serves HTTP and `/ws` until SIGTERM or SIGINT.

It listens on OPENCODE_HOST and OPENCODE_PORT, or on a socket that it has inherited (`--fd`), which lets its
parent restart it without refusing a connection. It prints nothing; once it is answered, it is ready.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys

from django.conf import settings

from opencode_site.access.reach import CannotServe, check_reach
from opencode_site.asgi import application, websockets

if settings.WEB_SERVER == "uvicorn":
    from opencode_site.ws.transport_uvicorn import WebServer as WebServer
else:
    from opencode_site.ws.transport import WebServer as WebServer

PING_INTERVAL, PING_TIMEOUT = 20.0, 30.0
"""Seconds of silence after which a client is pinged, and in which it must answer."""
EXIT_CANNOT_SERVE = 2
SWITCH_INTERVAL = 0.0003
"""Seconds that a thread may compute while another wants to. A request that comes back from the database six
times waited each time for whoever sent a wake-up or an update meanwhile, for up to 5 ms as Python has it: a
`start_task` on PostgreSQL took 7 to 9 ms instead of 5 to 7."""
GC_THRESHOLD = 10_000
"""Objects by which the heap must have grown for a collection: more than a hundred connections at once make it
(Python's own 700 is reached by one or two)."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="opencode_site.web", description="Serves HTTP and /ws.")
    parser.add_argument("--fd", type=int, help="a listening socket to serve instead of OPENCODE_PORT")
    parser.add_argument("--ping-interval", type=float, default=PING_INTERVAL, help="seconds")
    parser.add_argument("--ping-timeout", type=float, default=PING_TIMEOUT, help="seconds")
    return parser.parse_args()


def main() -> int:
    """Returns the exit code."""
    arguments = _arguments()
    try:
        _check_reach(arguments.fd)
        server = WebServer(
            application,
            websockets=websockets,
            descriptor=arguments.fd,
            address=(settings.HOST, settings.PORT),
            tls=(settings.TLS_CERT, settings.TLS_KEY) if settings.TLS_CERT else None,
            ping_interval=arguments.ping_interval,
            ping_timeout=arguments.ping_timeout,
        )
    except CannotServe as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_CANNOT_SERVE
    sys.setswitchinterval(SWITCH_INTERVAL)
    # A collection stops everybody. What is loaded stays, and need not be walked each time; a connection that
    # is over leaves nothing behind, so that there is little to collect beside the caches.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    server.run()
    if server.problem:
        sys.stderr.write(f"error: cannot listen on {settings.HOST}:{settings.PORT}: {server.problem}\n")
    return 1 if server.problem else 0


def _check_reach(descriptor: int | None) -> None:
    """Whoever started us: without authentication nobody beyond loopback gets to us. Raises `CannotServe`."""
    address = settings.HOST
    if descriptor is not None:
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            if listener.family == socket.AF_UNIX:
                return
            address = listener.getsockname()[0]
    check_reach(address, authenticated=settings.AUTH)


if __name__ == "__main__":
    sys.exit(main())
