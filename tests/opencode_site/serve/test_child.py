"""One process and its keeper, with real processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from opencode_site.serve.child import Child, Program

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def child(tmp_path: Path, said: list[str]) -> Callable[..., Child]:
    def make(code: str, *, patience: float = 10.0, show: Callable[[str, str], None] | None = None) -> Child:
        program = Program(
            name="it",
            argv=(sys.executable, "-I", "-S", "-c", code),
            log=tmp_path / "it.log",
            patience=patience,
            directory=tmp_path,
        )
        return Child(program, say=said.append, changed=lambda: None, show=show)

    return make


async def until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.01)


def test_waits_longer_before_each_new_start(child: Callable[..., Child], said: list[str]) -> None:
    async def run() -> None:
        one = child("raise SystemExit('no luck')")
        keeper = asyncio.ensure_future(one.keep())
        await until(lambda: len(said) == 3)
        await one.stop(asyncio.Event())
        await keeper

    asyncio.run(run())
    assert said == [
        f"it ended with exit code 1 (no luck); it is started again in {s} s" for s in (0.2, 0.4, 0.8)
    ]


def test_kills_a_process_that_does_not_end_in_time(child: Callable[..., Child], said: list[str]) -> None:
    async def run() -> None:
        one = child(STUBBORN, patience=0.2)
        keeper = asyncio.ensure_future(one.keep())
        await until(lambda: one.program.log.exists() and "deaf" in one.program.log.read_text())
        await one.stop(asyncio.Event())
        await keeper
        assert not one.alive

    asyncio.run(run())
    assert said == ["it did not end within 0.2 s and is killed"]


def test_kills_at_once_when_hurried(child: Callable[..., Child]) -> None:
    async def run() -> None:
        one, hurry = child(STUBBORN, patience=600), asyncio.Event()
        keeper = asyncio.ensure_future(one.keep())
        await until(lambda: one.program.log.exists() and "deaf" in one.program.log.read_text())
        stopping = asyncio.ensure_future(one.stop(hurry))
        hurry.set()
        await asyncio.wait_for(stopping, 20)
        await keeper
        assert not one.alive

    asyncio.run(run())


def test_says_why_a_program_cannot_be_started(tmp_path: Path, said: list[str]) -> None:
    async def run() -> None:
        program = Program(
            name="it", argv=("/bin/true",), log=tmp_path / "it.log", patience=1, directory=tmp_path / "none"
        )
        one = Child(program, say=said.append, changed=lambda: None)
        keeper = asyncio.ensure_future(one.keep())
        await until(lambda: said)
        await one.stop(asyncio.Event())
        await keeper

    asyncio.run(run())
    assert said[0].startswith(
        "it could not be started: No such file or directory; it is started again in 0.2 s"
    )


def test_shows_lines_of_any_length_and_logs_them(child: Callable[..., Child]) -> None:
    shown: list[str] = []

    async def run() -> None:
        one = child(
            "print('one'); print('x' * 200_000); print('two', flush=True); import time; time.sleep(60)",
            show=lambda _name, line: shown.append(line),
        )
        keeper = asyncio.ensure_future(one.keep())
        await until(lambda: "two" in shown)
        assert one.program.log.stat().st_size == 200_009
        await one.stop(asyncio.Event())
        await keeper

    asyncio.run(run())
    assert shown[0] == "one"
    assert max(map(len, shown)) <= 16 * 1024
