"""Samples of load."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from monitoring.models import ResourceSample

_NAMES = [field.name for field in ResourceSample._meta.fields if not field.primary_key]


def sample(at: datetime, **values: Any) -> ResourceSample:
    """A host's load at one moment, not stored; what is not said is 1."""
    known = {"host": "builder", "at": at, "stamp": int(at.timestamp())}
    return ResourceSample(**dict.fromkeys(_NAMES, 1) | known | values)
