"""The WebSocket protocol itself: Autobahn's cases against our server in front of an echo."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import kosoku
import pytest
from websockets.sync.client import connect

from tests.support.server import ROOT, free_port

GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
KNOWN = {"1.1.1", "1.2.1", "6.1.1", "6.1.2"}
"""Daphne sends nothing where an empty message is to be sent."""
NOT_OURS = ["12.*", "13.*"]
"""Compression, which Daphne does not offer: so there is no decompression bomb either."""
TOO_LARGE = {f"9.{group}.{size}" for group in (1, 2) for size in (4, 5, 6)} | {
    f"9.{group}.{size}" for group in (3, 4) for size in range(1, 10)
}
"""Messages of more than 1 MiB (4 to 16 MiB), which are closed with 1009 here."""


@pytest.fixture
def echo() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.support.echo_web", str(port)], cwd=ROOT)
    url = f"ws://127.0.0.1:{port}/"
    try:
        _wait_for(url, process)
        yield url
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with connect(url, open_timeout=5):
                return
        except OSError:
            running = process.poll() is None and time.monotonic() < deadline
            assert running, "the echo does not answer"
            time.sleep(0.02)


def results_of(url: str) -> Sequence[Any]:
    try:
        return asyncio.run(kosoku.run_fuzzingclient(url, exclude_cases=NOT_OURS, concurrency=4))
    except kosoku.FailureError as failed:
        return failed.results or []


@pytest.mark.slow
def test_fails_no_case_beyond_those_known_of_daphne(echo: str) -> None:
    results = results_of(echo)
    assert len(results) > 200
    wrong = {result.case_id for result in results if result.behavior.value not in GOOD}
    assert wrong <= KNOWN | TOO_LARGE, sorted(wrong - KNOWN - TOO_LARGE)
