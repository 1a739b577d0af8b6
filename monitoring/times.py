"""Times as everybody outside reads them (pure)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


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
