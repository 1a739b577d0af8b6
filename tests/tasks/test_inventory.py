"""Which processes count as ours, with real processes that these tests have started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.utils import timezone

from processes.control import identity_of
from tasks import inventory, services
from tasks.models import Run

FAMILY = "import subprocess; subprocess.run(['sleep', '60'])"
RENAME = """
import ctypes, sys, time
# What prctl and setproctitle do: overwrite the very bytes that /proc/PID/cmdline shows.
argc, argv = ctypes.c_int(), ctypes.POINTER(ctypes.c_char_p)()
start = int(open("/proc/self/stat").read().rpartition(")")[2].split()[45])
length = len(open("/proc/self/cmdline", "rb").read())
new = b"\\0".join([b"python3", sys.argv[1].encode(), b"run"]) + b"\\0"
assert len(new) <= length
ctypes.memmove(start, new.ljust(length, b"\\0"), length)
ctypes.CDLL(None).prctl(15, b"opencode")
print(flush=True)
time.sleep(60)
"""
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, **options))
        return started[-1]

    yield run
    for process in started:
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            child.kill()
        process.kill()
        process.communicate()


def family(start: Callable[..., subprocess.Popen[bytes]]) -> tuple[int, int]:
    """The pids of a process and of its child."""
    parent = start(sys.executable, "-c", FAMILY)
    while not (children := psutil.Process(parent.pid).children()):
        pass
    return parent.pid, children[0].pid


def run_of(claimed: Callable[..., Run], settings: Any, *, keeper: int, agent: int, identity: str) -> Run:
    settings.HOSTNAME = "builder"
    run = claimed()
    services.mark_started(run, supervisor_pid=keeper, agent_pid=agent, identity=identity, at=timezone.now())
    return run


def test_counts_what_a_supervisor_has_started_as_ours(
    claimed: Callable[..., Run], settings: Any, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    keeper, child = family(start)
    run = run_of(claimed, settings, keeper=keeper, agent=child, identity=identity_of(child) or "")
    assert inventory.why_not_end(child) is None
    owner = inventory.owner_of(child)
    assert owner is not None
    assert owner.run_id == run.pk
    assert "supervises" in (inventory.why_not_end(keeper) or "")


def test_takes_no_stranger_for_a_supervisor_that_has_got_its_pid(
    claimed: Callable[..., Run], settings: Any, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    agent_long_gone = identity_of(os.getpid()) or ""
    keeper, child = family(start)
    run_of(claimed, settings, keeper=keeper, agent=2**22, identity=agent_long_gone)
    assert inventory.why_not_end(child) == "it is neither an agent nor part of one of our runs"
    assert inventory.owner_of(child) is None
    assert inventory.why_not_end(keeper) == "it is neither an agent nor part of one of our runs"


@pytest.mark.parametrize("script", ["/x/opencode", "opencode", "/x/claude.js"])
def test_does_not_believe_what_a_process_writes_into_its_own_argv(
    db: None, start: Callable[..., subprocess.Popen[bytes]], script: str
) -> None:
    pretender = start(sys.executable, "-c", RENAME, script)
    assert pretender.stdout is not None
    pretender.stdout.readline()
    shown = psutil.Process(pretender.pid)
    assert (shown.name(), shown.cmdline()[:3]) == ("opencode", ["python3", script, "run"])
    assert inventory.why_not_end(pretender.pid) == "it is neither an agent nor part of one of our runs"


def test_knows_an_agent_by_its_executable(
    db: None, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    program = tmp_path / "opencode"
    shutil.copy(shutil.which("sleep") or "", program)
    agent = start("anything", "60", executable=program)
    assert inventory.why_not_end(agent.pid) is None
    assert inventory.owner_of(agent.pid) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_leaves_the_agents_of_other_users_alone_even_as_root(
    db: None, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    program = tmp_path / "opencode"
    shutil.copy(shutil.which("sleep") or "", program)
    for directory in (program, tmp_path, *list(tmp_path.parents)[:-2]):
        directory.chmod(0o755)
    agent = start(*AS_NOBODY, str(program), "60")
    while psutil.Process(agent.pid).exe() != str(program):
        pass
    assert psutil.Process(agent.pid).uids().real == 65534
    assert inventory.why_not_end(agent.pid) == "it belongs to another user"


def test_leaves_itself_and_what_it_was_started_from_alone(db: None) -> None:
    for pid in (os.getpid(), os.getppid()):
        assert inventory.why_not_end(pid) == "it is this server, or what this server was started from"
