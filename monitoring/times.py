"""Times as everybody outside reads them (pure)."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_text(moment: datetime) -> str:
    """UTC, ISO 8601, milliseconds, `Z`: the protocol's only form of a time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
