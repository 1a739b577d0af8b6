"""Failed attempts to get in: counted by the client's address over all web processes, limited, and logged.

Wrong keys and wrong passwords are counted apart: a program with an old key must not keep people of its
address from logging in.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Callable
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a login waits for the broker; without it each process counts for itself."""
WINDOW_SECONDS = 60.0


class Kind(enum.StrEnum):
    """What was wrong."""

    KEY = "key"
    PASSWORD = "password"  # noqa: S105 - the word itself


def seconds_to_wait(address: str, kind: Kind) -> float:
    """How long the address has to wait after too many failures; 0 if it may try."""
    if settings.FAILED_LOGINS_PER_MINUTE == 0:
        return 0.0
    client = _client(address)
    return _try(lambda limiter: _left(limiter, kind, client))


def count_failure(address: str, kind: Kind, why: str) -> float:
    """Counts and logs a failed attempt; returns the seconds to wait before the next one, 0 for none.

    What comes beyond the limit is not logged: a flood fills no disk.
    """
    if settings.FAILED_LOGINS_PER_MINUTE == 0:
        logger.warning("refused %s: %s", address, why)
        return 0.0
    client = _client(address)
    if _try(lambda limiter: limiter.hit(_item(), kind, client)):
        logger.warning("refused %s: %s", address, why)
        return 0.0
    return max(1.0, seconds_to_wait(address, kind))


def _left(limiter: MovingWindowRateLimiter, kind: Kind, client: str) -> float:
    if limiter.test(_item(), kind, client):
        return 0.0
    stats = limiter.get_window_stats(_item(), kind, client)
    return min(max(1.0, stats.reset_time - time.time()), WINDOW_SECONDS)


def _try(ask: Callable[[MovingWindowRateLimiter], T]) -> T:
    try:
        return ask(_shared())
    except (RedisError, OSError):
        # Not logged for each attempt: the limit of connections tells when the broker is away.
        return ask(_own())


def _item() -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(settings.FAILED_LOGINS_PER_MINUTE, namespace="failed-attempts")


@cache
def _shared() -> MovingWindowRateLimiter:
    url = settings.REDIS_URL
    return MovingWindowRateLimiter(
        RedisStorage(
            f"redis+{url}" if url.startswith("unix://") else url,
            key_prefix="opencode.limits",
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
    )


@cache
def _own() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


def _client(address: str) -> str:
    """Whom an address stands for: of IPv6 everybody has a whole network of 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
    return str(parsed)
