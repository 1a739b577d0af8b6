"""Scans of the real machine, checked against children that these tests start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from processes import discovery
from processes.classification import AgentKind
from processes.discovery import ProcessInfo, Scanner, agents, descendants

GEMINI = AgentKind.GEMINI
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv, cwd=cwd))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


def seen(scanner: Scanner, pid: int) -> ProcessInfo | None:
    return next((info for info in scanner.scan() if info.pid == pid), None)


def test_sees_a_child_as_psutil_does(start: Start) -> None:
    child = start("sleep", "60")
    info = seen(Scanner(), child.pid)
    assert info is not None
    process = psutil.Process(child.pid)
    assert (info.name, info.cmdline, info.ppid) == ("sleep", "sleep 60", os.getpid())
    assert info.status == process.status()
    assert info.create_time == pytest.approx(process.create_time(), abs=0.02)
    assert info.memory_rss == pytest.approx(process.memory_info().rss, rel=0.2)
    assert info.memory_percent == pytest.approx(process.memory_percent(), rel=0.2)
    assert info.kind is None


def test_knows_an_agent_by_its_executable_and_where_it_works(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    child = start(str(program), "60", cwd=tmp_path)
    info = seen(Scanner(), child.pid)
    assert info is not None
    assert (info.kind, info.working_dir) == ("opencode", str(tmp_path))


def test_measures_the_cpu_between_two_scans(start: Start) -> None:
    busy = start(sys.executable, "-c", "while True: pass")
    idle = start("sleep", "60")
    process, scanner = psutil.Process(busy.pid), Scanner()
    scanner.scan()
    # A measurement over time needs time to pass: enough of it for a hundred clock ticks.
    began, before = time.monotonic(), sum(process.cpu_times()[:2])
    while (used := sum(process.cpu_times()[:2]) - before) < 1.0:
        assert time.monotonic() - began < 60, "it gets no CPU"
        time.sleep(0.05)
    # However much of the machine others take meanwhile.
    really = 100 * used / (time.monotonic() - began)
    found = {info.pid: info for info in scanner.scan()}
    assert found[busy.pid].cpu_percent == pytest.approx(really, rel=0.2)
    assert found[idle.pid].cpu_percent < 2


def test_forgets_what_has_gone_and_takes_a_zombie(start: Start) -> None:
    child = start("true")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    scanner = Scanner()
    zombie = seen(scanner, child.pid)
    assert zombie is None or zombie.status == "zombie"
    child.wait()
    assert seen(scanner, child.pid) is None
    assert child.pid not in scanner._known


def test_looks_again_at_a_young_process_that_has_become_another_program(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    child = start("sh", "-c", f"read line < {gate}; exec {program} 60")
    scanner = Scanner()
    before = seen(scanner, child.pid)
    assert before is not None
    assert before.kind is None
    gate.write_text("go\n")
    deadline = time.monotonic() + 10
    while psutil.Process(child.pid).name() != "opencode":
        assert time.monotonic() < deadline
    after = seen(scanner, child.pid)
    assert after is not None
    assert after.kind == "opencode"


def test_goes_on_when_processes_vanish_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    real = discovery._proc_lines if discovery.LINUX else discovery._psutil_lines
    lines = list(real())
    ghost = lines[0]._replace(pid=gone.pid, start="1")
    monkeypatch.setattr(discovery, real.__name__, lambda: iter([ghost, *lines]))
    found = {info.pid for info in Scanner().scan()}
    assert os.getpid() in found
    assert gone.pid not in found


def info(pid: int, ppid: int, kind: AgentKind | None = None) -> ProcessInfo:
    return ProcessInfo(
        pid=pid,
        ppid=ppid,
        identity="1",
        name="n",
        cmdline="",
        status="running",
        create_time=0.0,
        cpu_percent=0.0,
        memory_rss=0,
        memory_percent=0.0,
        kind=kind,
        activity="",
        working_dir="",
    )


def test_counts_a_launcher_and_its_agent_once() -> None:
    found = agents([info(1, 0), info(2, 1, GEMINI), info(3, 2, GEMINI), info(4, 1, AgentKind.CODEX)])
    assert [each.pid for each in found] == [3, 4]


def test_finds_everything_below_a_process() -> None:
    family = [info(1, 0), info(2, 1), info(3, 2), info(4, 1), info(5, 0)]
    assert descendants(family, {2}) == {3}
    assert descendants(family, {1}) == {2, 3, 4}
