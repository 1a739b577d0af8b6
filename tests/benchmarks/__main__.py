"""`make bench`: measures the real system and holds it against its targets.

Exits with 1 when a target is missed or a part could not be measured, with 2 on a wrong call.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

import tests.isolation  # first: nothing may meet the developer's own installation
from tests.benchmarks import footprint, history, hostile, messages, output, queueing, volume
from tests.benchmarks.report import Result, show, write

ROWS: dict[str, Callable[[], Iterator[Result]]] = {
    "ping": messages.ping,
    "fanout": messages.fanout,
    "uvicorn": messages.uvicorn,
    "hostile": hostile.hostile,
    "start_task": queueing.start_task,
    "agent_start": queueing.agent_start,
    "log_latency": output.log_latency,
    "ingestion": output.ingestion,
    "week": history.week,
    "volume": volume.volume,
    "scan": footprint.scan,
    "idle": footprint.idle,
    "supervisor": footprint.supervisor,
}


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in ROWS]:
        raise argparse.ArgumentTypeError(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measures the server against its targets."
    )
    parser.add_argument("--only", type=_names, default=list(ROWS), help=f"comma-separated: {','.join(ROWS)}")
    parser.add_argument("--json", type=Path, default=Path(".cache/bench.json"), help="where the figures go")
    return parser.parse_args()


def main() -> int:
    """Returns the exit code."""
    arguments = _arguments()
    # The servers that a row has started end with it, also when we are asked to end.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    console = Console()
    results: list[Result] = []
    began = time.monotonic()
    try:
        for name in arguments.only:
            started = time.monotonic()
            results += ROWS[name]()
            console.print(f"[dim]{name}: {time.monotonic() - started:.0f} s[/]")
            # After each row, so that what was measured is kept when a later one breaks.
            write(arguments.json, results, seconds=time.monotonic() - began)
    finally:
        tests.isolation.pytest_unconfigure()
    show(results, console)
    missed = sum(not result.met for result in results)
    console.print(
        f"{len(results) - missed} of {len(results)} targets met; the figures are in {arguments.json}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
