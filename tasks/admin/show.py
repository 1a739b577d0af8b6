"""How the admin writes durations, amounts and badges."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.utils import timezone

MINUTE_MS = 60_000
BADGES = {
    "pending": "default",
    "queued": "default",
    "waiting": "default",
    "blocked": "warning",
    "starting": "info",
    "running": "info",
    "stalled": "warning",
    "cancelling": "warning",
    "completed": "success",
    "failed": "danger",
    "cancelled": "warning",
}
"""The kind of badge for what a task or a run is doing."""


def duration(start: datetime | None, end: datetime | None) -> str:
    """From start to end, or to now while there is no end; "–" before the start."""
    if start is None:
        return "–"
    seconds = max(0, int(((end or timezone.now()) - start).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


def time_limit(timeout_ms: int | None) -> str:
    """Of one run."""
    return f"{timeout_ms / MINUTE_MS:g} minutes" if timeout_ms else "7 days"


def size(number: float | None) -> str:
    """Bytes in powers of 1024; "–" for what is not known."""
    if number is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def dollars(cost: Decimal | None) -> str:
    """As many digits as tell it from nothing; "–" for nothing at all."""
    if not cost:
        return "–"
    return f"${cost:.4f}" if cost < 1 else f"${cost:.2f}"
