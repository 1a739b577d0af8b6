"""Ending processes: real ones, started by these tests, and never any other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import control
from processes.control import end_process, identity_of, start_of, started_before
from processes.errors import KillFailed, NoSuchProcess, NotAllowed

Start = Callable[..., subprocess.Popen[bytes]]
IGNORING = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        with process:
            process.kill()


def anybody(pid: int) -> None:
    return None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_returns_when_the_process_is_gone(start: Start, name: str) -> None:
    process = start("sleep", "60")
    end_process(process.pid, signum=control.SIGNALS[name], grace=10, judge=anybody)
    assert process.wait(0.5) == -signal.Signals[name]


def test_says_so_when_it_is_still_there_after_the_grace(start: Start) -> None:
    process = start(sys.executable, "-c", IGNORING)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(KillFailed, match="still there"):
        end_process(process.pid, signum=signal.SIGTERM, grace=0.1, judge=anybody)
    assert process.poll() is None


def test_sends_nothing_to_what_the_judge_refuses(start: Start) -> None:
    process = start("sleep", "60")
    with pytest.raises(NotAllowed, match="not yours"):
        end_process(process.pid, signum=signal.SIGKILL, grace=1, judge=lambda pid: "it is not yours")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)


@pytest.mark.parametrize("pid", [1, 0, -1, -os.getpid()], ids=["init", "0", "-1", "our group"])
def test_refuses_pids_that_are_no_process_of_an_agent(pid: int) -> None:
    with pytest.raises(NotAllowed):
        end_process(pid, signum=signal.SIGTERM, grace=1, judge=anybody)


def test_refuses_a_thread(start: Start) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    assert thread.native_id is not None
    try:
        with pytest.raises((NotAllowed, NoSuchProcess)):
            end_process(thread.native_id, signum=signal.SIGTERM, grace=1, judge=anybody)
    finally:
        stop.set()
        thread.join()


def test_does_not_find_one_that_has_ended(start: Start) -> None:
    process = start("true")
    process.wait()
    with pytest.raises(NoSuchProcess):
        end_process(process.pid, signum=signal.SIGTERM, grace=1, judge=anybody)


def test_does_not_find_a_zombie(start: Start) -> None:
    process = start("true")
    assert process.stdout is not None
    process.stdout.read()
    while start_of(process.pid) is not None:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(NoSuchProcess):
        end_process(process.pid, signum=signal.SIGTERM, grace=1, judge=anybody)


def test_signals_nobody_when_the_process_ends_while_it_is_judged(start: Start) -> None:
    process = start("sleep", "60")

    def slow(pid: int) -> None:
        process.kill()
        process.wait()

    with pytest.raises(NoSuchProcess):
        end_process(process.pid, signum=signal.SIGTERM, grace=1, judge=slow)


def test_signals_nobody_when_the_pid_has_become_somebody_elses(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start("sleep", "60")
    starts = iter(["100", "200"])
    monkeypatch.setattr(control, "start_of", lambda pid: next(starts))
    with pytest.raises(NoSuchProcess):
        end_process(process.pid, signum=signal.SIGKILL, grace=1, judge=anybody)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)


LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def take_over(start: Start, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes] | None:
    """Ends the process and starts another with its pid; None if somebody else on the machine got it first."""
    with process:
        process.kill()
    for _ in range(50):
        LAST_PID.write_text(str(process.pid - 1))
        victim = start("sleep", "60")
        if victim.pid == process.pid:
            return victim
        with victim:
            victim.kill()
    return None


@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK), reason="only root can choose a pid")
@pytest.mark.parametrize("moment", ["while it is judged", "after the first look"])
def test_signals_nobody_when_the_pid_is_really_reused(
    start: Start, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    spared = 0
    for _ in range(100):
        victims: list[subprocess.Popen[bytes] | None] = []
        process = start("sleep", "60")

        def reuse(pid: int, process: subprocess.Popen[bytes] = process, victims: Any = victims) -> None:
            victims.append(take_over(start, process))

        def look(pid: int, victims: Any = victims, reuse: Any = reuse) -> str | None:
            if not victims:
                reuse(pid)
            return start_of(pid)

        if moment == "after the first look":
            # The pin is held by now: the process ends and its pid is given away before the identity is read.
            monkeypatch.setattr(control, "start_of", look)
        with pytest.raises(NoSuchProcess):
            end_process(
                process.pid,
                signum=signal.SIGKILL,
                grace=1,
                judge=reuse if moment == "while it is judged" else anybody,
            )
        if victim := victims[0]:
            assert victim.poll() is None
            with victim:
                victim.kill()
            assert victim.returncode == -signal.SIGKILL
            if (spared := spared + 1) == 20:
                return
    pytest.fail(f"the pid could be taken over only {spared} times in 100")


def test_tells_an_older_process_from_a_younger_one(start: Start) -> None:
    older = start("sleep", "60")
    while identity_of(older.pid) == identity_of((younger := start("sleep", "60")).pid):
        pass  # clock ticks are hundredths of a second
    now = time.time()
    assert started_before(older.pid, identity_of(younger.pid) or "", at=now)
    assert not started_before(younger.pid, identity_of(older.pid) or "", at=now - 60)
    assert not started_before(older.pid, f"another-boot:{2**60}", at=now - 60)
