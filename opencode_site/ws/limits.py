"""Named limits; 0 in the settings lifts one.

What one connection may do is counted in its own memory. What the whole server may do is counted in the
broker, over all web processes; while the broker is away each process counts for itself, since a limit must
neither stop the server nor vanish when it is needed most.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from opencode_site.ws.errors import Code, ProtocolError

logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60
BROKER_PATIENCE = 1.0
"""Seconds that a limit waits for the broker, within a client's request."""
RETRY_CONNECTION_SECONDS = 5
"""What a client is told to wait that came when all connections were taken: nobody knows when one ends."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` of something in any 60 seconds; 0 is no limit."""

    name: str
    amount: int


class RateLimited(ProtocolError):
    """A limit was reached; nothing was done."""

    def __init__(self, limit: Limit, *, retry_after: float, window: int = WINDOW_SECONDS) -> None:
        super().__init__(
            Code.RATE_LIMIT_EXCEEDED,
            "Too many requests. Please wait before retrying.",
            retry_after_seconds=max(1, math.ceil(retry_after)),
            current_limit=limit.amount,
            time_window_seconds=window,
            limit=limit.name,
        )


class MessageLimit:
    """At most OPENCODE_MESSAGES_PER_MINUTE messages in any minute from one connection.

    By a clock that nobody sets, and without the tasks and threads of the `limits` library's own memory.
    """

    def __init__(self, amount: int) -> None:
        self._limit = Limit("messages", amount)
        self._times: deque[float] = deque(maxlen=amount or 1)

    def hit(self) -> None:
        """Counts one. Raises `RateLimited` when that is one too many, and then counts nothing."""
        amount = self._limit.amount
        if amount == 0:
            return
        now = time.monotonic()
        if len(self._times) == amount and (left := self._times[0] + WINDOW_SECONDS - now) > 0:
            raise RateLimited(self._limit, retry_after=left)
        self._times.append(now)


class ServerLimit:
    """A limit over the whole server, as a moving window of the `limits` library."""

    def __init__(self, limit: Limit, storage: RedisStorage) -> None:
        self._limit = limit
        self._item = RateLimitItemPerMinute(max(1, limit.amount))
        self._shared = MovingWindowRateLimiter(storage)
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._broker = _Presence(f"the limit of {limit.name} per minute is counted per process")

    async def hit(self) -> None:
        """Counts one. Raises `RateLimited` when that is one too many, and then counts nothing."""
        if self._limit.amount == 0:
            return
        try:
            await self._hit(self._shared)
        except (RedisError, OSError) as error:
            self._broker.away(error)
            await self._hit(self._own)
        else:
            self._broker.back()

    async def _hit(self, limiter: MovingWindowRateLimiter) -> None:
        if await limiter.hit(self._item, self._limit.name):
            return
        stats = await limiter.get_window_stats(self._item, self._limit.name)
        # Entries from before the clock was set back would tell of more than a window.
        left = min(stats.reset_time - time.time(), WINDOW_SECONDS)
        raise RateLimited(self._limit, retry_after=left)


class ServerLimits:
    """The limits over all web processes. Used by one event loop."""

    def __init__(self) -> None:
        storage = RedisStorage(
            _storage_url(settings.REDIS_URL),
            implementation="redispy",
            key_prefix="opencode.limits",
            **_impatient(),
        )
        self._tasks = ServerLimit(Limit("tasks", settings.TASKS_PER_MINUTE), storage)
        self._kills = ServerLimit(Limit("kills", settings.KILLS_PER_MINUTE), storage)

    async def limit_task_creation(self) -> None:
        """At most OPENCODE_TASKS_PER_MINUTE tasks asked for in any minute. Raises `RateLimited`."""
        await self._tasks.hit()

    async def limit_kill(self) -> None:
        """At most OPENCODE_KILLS_PER_MINUTE kills asked for in any minute. Raises `RateLimited`."""
        await self._kills.hit()


# Each process's number of connections with the time until which it counts. A process that was killed is so
# forgotten after a few seconds, and nobody ever has to count down for it.
_ENTER = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local process, own, limit, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local others = 0
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
    local count, expires = string.match(counts[i + 1], '^(%d+) ([%d.]+)$')
    if not expires or tonumber(expires) < now or tonumber(expires) > now + 10 * ttl then
        redis.call('HDEL', KEYS[1], counts[i])
    elseif counts[i] ~= process then
        others = others + tonumber(count)
    end
end
local allowed = limit == 0 or others + own <= limit
if allowed then
    redis.call('HSET', KEYS[1], process, string.format('%d %.3f', own, now + ttl))
end
return allowed and 1 or 0
"""


class ConnectionLimit:
    """At most OPENCODE_MAX_CONNECTIONS connections at once over all web processes. Used by one event loop."""

    BEAT = 1.0
    """Seconds between two reports of this process's number."""
    TTL = 4.0
    """Seconds for which a number counts without a new report."""

    def __init__(self, amount: int) -> None:
        self._limit = Limit("connections", amount)
        self._process = uuid.uuid4().hex
        self._own = self._told = 0
        _open_here.add(self)
        self._told_at = 0.0
        self._lock = asyncio.Lock()
        self._redis = Redis.from_url(settings.REDIS_URL, **_impatient())
        self._script = self._redis.register_script(_ENTER)
        self._broker = _Presence("the limit of connections is counted per process")

    async def enter(self) -> None:
        """Counts a connection in. Raises `RateLimited` when that is one too many."""
        async with self._lock:
            if self._limit.amount and not await self._report(self._own + 1, self._limit.amount):
                raise RateLimited(self._limit, retry_after=RETRY_CONNECTION_SECONDS, window=0)
            self._own += 1

    async def leave(self) -> None:
        """Counts a connection out. Cut short it is still counted: other processes hear with the next beat."""
        self._own -= 1
        await self.beat()

    async def beat(self) -> None:
        """Tells the other processes our number; to be called every `BEAT` seconds."""
        if self._limit.amount:
            async with self._lock:
                if self._told != self._own or time.monotonic() - self._told_at > self.BEAT / 2:
                    await self._report(self._own, 0)

    async def _report(self, own: int, limit: int) -> bool:
        try:
            allowed = await self._script(
                keys=["opencode.limits.connections"], args=[self._process, own, limit, self.TTL]
            )
        except (RedisError, OSError) as error:
            self._broker.away(error)
            return limit == 0 or own <= limit
        self._broker.back()
        if allowed:
            self._told, self._told_at = own, time.monotonic()
        return bool(allowed)

    async def close(self) -> None:
        """Gives this process's connections back."""
        self._own = 0
        await self.beat()
        await self._redis.aclose()


_open_here: WeakSet[ConnectionLimit] = WeakSet()


def connections() -> int:
    """The connections of this process."""
    return sum(limit._own for limit in _open_here)


class _Presence:
    """Says once that the broker is away, and once that it is back."""

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence
        self._away = False

    def away(self, error: Exception) -> None:
        if not self._away:
            logger.warning("the broker is away, %s: %s", self._consequence, error)
        self._away = True

    def back(self) -> None:
        if self._away:
            logger.warning("the broker is back, limits hold over all processes again")
        self._away = False


def _storage_url(url: str) -> str:
    return "async+redis+" + url if url.startswith("unix://") else "async+" + url


def _impatient() -> dict[str, Any]:
    return {
        "socket_timeout": BROKER_PATIENCE,
        "socket_connect_timeout": BROKER_PATIENCE,
        "retry": Retry(NoBackoff(), 1),
    }
