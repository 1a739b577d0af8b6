"""Ends one process of this host, and never another one that has got its pid meanwhile.

psutil compares identities and then calls `os.kill`: the race remains. Here the process is pinned by a pidfd
first, then judged, then compared once more, and the signal goes to the pin.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import psutil

from processes.errors import KillFailed, NoSuchProcess, NotAllowed

SIGNALS = {name: signal.Signals[name] for name in ("SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT")}
"""What a client may send."""

Judge = Callable[[int], str | None]
"""Tells why a pid may not be ended, None if it may. Called while the process is pinned."""


def start_of(pid: int) -> str | None:
    """What tells this process from another with its pid; None if there is none, or only a zombie."""
    if sys.platform != "linux":
        return _start_by_psutil(pid)
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


def identity_of(pid: int) -> str | None:
    """Boot id and start in clock ticks: no other process ever has the same; None off Linux."""
    start = start_of(pid)
    return f"{_boot_id()}:{start}" if start is not None and sys.platform == "linux" else None


def started_before(pid: int, other: str, *, at: float) -> bool:
    """Whether the process with this pid is older than the one with the identity `other`, which began `at`.

    So it is told whether a pid that is known from before is still the same process: one that was given the
    pid later is younger than whatever the first one has started.
    """
    if sys.platform != "linux":
        try:
            return psutil.Process(pid).create_time() <= at + 1
        except psutil.NoSuchProcess:
            return False
    mine = identity_of(pid)
    if mine is None:
        return False
    boot, _, ticks = mine.rpartition(":")
    other_boot, _, other_ticks = other.rpartition(":")
    return boot == other_boot and int(ticks) <= int(other_ticks)


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def end_process(pid: int, *, signum: signal.Signals, grace: float, judge: Judge) -> None:
    """Sends the signal and returns when the process is gone. Blocks for up to `grace` seconds.

    Raises `NoSuchProcess`, `NotAllowed` (nothing was sent) or `KillFailed`.
    """
    if pid <= 1:
        raise NotAllowed(pid, "it is no process of an agent")
    pin = _pin(pid)
    try:
        start = start_of(pid)
        if start is None:
            raise NoSuchProcess(pid)
        if reason := judge(pid):
            raise NotAllowed(pid, reason)
        if start_of(pid) != start:
            raise NoSuchProcess(pid)
        _send(pid, pin, signum)
        if not _wait_until_gone(pid, start, pin, grace):
            raise KillFailed(pid, f"it is still there {grace:g} s after {signum.name}")
    finally:
        if pin is not None:
            os.close(pin)


def _pin(pid: int) -> int | None:
    """A pidfd of a process; None where the system has none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise NoSuchProcess(pid) from None
    except OSError as error:
        # A thread's id is refused with EINVAL, or ENOENT by newer kernels: it is no process.
        raise NotAllowed(pid, f"it cannot be held on to ({error.strerror})") from error


def _send(pid: int, pin: int | None, signum: signal.Signals) -> None:
    try:
        if pin is None:
            os.kill(pid, signum)
        else:
            signal.pidfd_send_signal(pin, signum)
    except ProcessLookupError:
        raise NoSuchProcess(pid) from None
    except PermissionError:
        raise KillFailed(pid, "Permission denied") from None


def _wait_until_gone(pid: int, start: str, pin: int | None, grace: float) -> bool:
    deadline = time.monotonic() + grace
    if pin is not None:
        # A pidfd becomes readable when its process has ended, a zombie included.
        poller = select.poll()
        poller.register(pin, select.POLLIN)
        return bool(poller.poll(grace * 1000))
    while start_of(pid) == start:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # without pidfds the end of a stranger is no event
    return True


def _start_by_psutil(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return ""
