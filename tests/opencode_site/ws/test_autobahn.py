"""The WebSocket protocol itself: Autobahn's cases against our server in front of an echo."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import kosoku
import pytest
from websockets.sync.client import connect

from tests.support.server import ROOT, free_port

GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
NOT_OURS = ["12.*", "13.*"]
"""Compression, which Daphne does not offer: so there is no decompression bomb either."""
LARGE = ["9.1.*", "9.2.*", "9.3.*", "9.4.*"]
TOO_LARGE = {f"9.{group}.{size}" for group in (1, 2) for size in (4, 5, 6)} | {
    f"9.{group}.{size}" for group in (3, 4) for size in range(1, 10)
}
"""Those of them with messages of more than 1 MiB (4 to 16 MiB)."""
ANY_SIZE = 32 * 1024 * 1024


@contextmanager
def echo(*limit: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.support.echo_web", str(port), *limit]
    process = subprocess.Popen(command, cwd=ROOT)
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


def results_of(url: str, **which: list[str]) -> Sequence[Any]:
    try:
        return asyncio.run(kosoku.run_fuzzingclient(url, concurrency=4, **which))
    except kosoku.FailureError as failed:
        return failed.results or []


@pytest.mark.slow
def test_fails_no_case() -> None:
    """Four are known to fail with Daphne, which sends nothing where an empty message is to be sent."""
    with echo(str(ANY_SIZE)) as url:
        results = results_of(url, exclude_cases=NOT_OURS)
    assert len(results) > 200
    assert {result.case_id for result in results if result.behavior.value not in GOOD} == set()


@pytest.mark.slow
def test_closes_with_1009_where_a_message_is_too_large_and_only_there() -> None:
    with echo() as url:
        results = results_of(url, cases=LARGE)
    assert {result.case_id for result in results} > TOO_LARGE
    wrong = {result.case_id: result for result in results if result.behavior.value not in GOOD}
    assert wrong.keys() == TOO_LARGE
    assert {result.remote_close_code for result in wrong.values()} == {1009}
