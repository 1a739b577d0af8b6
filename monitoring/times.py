"""Times as everybody outside reads them (pure)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

LONGEST_RANGE = timedelta(days=30)
"""How far back one can ask for metrics, and so how long what they are told from is kept."""


def period_start(stamp: float, seconds: int) -> int:
    """The epoch second in which the period of an epoch time began."""
    return int(stamp) - int(stamp) % seconds


def utc_text(moment: datetime) -> str:
    """UTC, ISO 8601, milliseconds, `Z`: the protocol's only form of a time."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def now_text() -> tuple[str, int]:
    """This moment as `utc_text` has it, and in epoch milliseconds."""
    milliseconds = time.time_ns() // 1_000_000
    second, rest = divmod(milliseconds, 1000)
    return f"{_second(second)}.{rest:03d}Z", milliseconds


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[: -len("+00:00")]
