"""How busy the machine is, over the time between two looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The machine at one moment. Sizes in bytes, percentages of the whole machine."""

    interval: float
    """Seconds that `cpu_percent` covers."""
    cpu_percent: float
    memory_percent: float
    memory_used: int
    memory_total: int
    disk_percent: float
    disk_used: int
    disk_total: int
    bytes_sent: int
    bytes_recv: int
    packets_sent: int
    packets_recv: int
    load1: float
    load5: float
    load15: float
    processes: int


class LoadMeter:
    """Measures between one call and the next. Used by one thread."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._busy, self._all = _cpu_seconds()
        self._at = time.monotonic()

    def measure(self) -> Load | None:
        """The load since the last call, or since the meter was made; None if no time has passed."""
        busy, everything = _cpu_seconds()
        now = time.monotonic()
        if everything <= self._all or now <= self._at:
            return None
        cpu = 100 * (busy - self._busy) / (everything - self._all)
        interval = now - self._at
        self._busy, self._all, self._at = busy, everything, now
        memory, disk, net = (
            psutil.virtual_memory(),
            psutil.disk_usage(str(self._disk)),
            psutil.net_io_counters(),
        )
        load1, load5, load15 = psutil.getloadavg()
        return Load(
            interval=interval,
            cpu_percent=min(max(cpu, 0.0), 100.0),
            memory_percent=memory.percent,
            memory_used=memory.used,
            memory_total=memory.total,
            disk_percent=disk.percent,
            disk_used=disk.used,
            disk_total=disk.total,
            bytes_sent=net.bytes_sent,
            bytes_recv=net.bytes_recv,
            packets_sent=net.packets_sent,
            packets_recv=net.packets_recv,
            load1=load1,
            load5=load5,
            load15=load15,
            processes=len(psutil.pids()),
        )


def _cpu_seconds() -> tuple[float, float]:
    """Busy and all CPU seconds of the machine since it started. Guests are counted in user time already."""
    times = psutil.cpu_times()
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return everything - times.idle - getattr(times, "iowait", 0.0), everything
