"""Whether the parts of the server work: asked by `/readyz` and `manage.py doctor`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db import connection
from django.utils import timezone
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from monitoring import upkeep
from monitoring.models import ResourceSample
from tasks.models import Host
from tasks.queue import HOST_ALIVE

BROKER_PATIENCE = 1.5
"""Seconds that the broker is given to answer."""
BEAT_MARGIN = timedelta(seconds=30)
"""What the newest sample may be older than three intervals: a restart of the worker is no alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the server. `why` says in words what was seen, also when all is well."""

    name: str
    ok: bool
    why: str


def look_at_database() -> list[Part]:
    """The database, and what it tells of worker and beat. Blocks for as long as the database does."""
    try:
        worker, beat = _worker(), _beat()
    except AnyDatabaseError as error:
        why = f"the database cannot be used: {' '.join(str(error).split())}"
        return [Part(name=name, ok=False, why=why) for name in LOOKS[look_at_database]]
    finally:
        connection.close()
    return [Part(name="database", ok=True, why=f"{connection.vendor} answers"), worker, beat]


def look_at_broker() -> list[Part]:
    """The broker, by a PING."""
    try:
        with Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=BROKER_PATIENCE,
            socket_connect_timeout=BROKER_PATIENCE,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except (RedisError, OSError) as error:
        return [Part(name="broker", ok=False, why=f"the broker does not answer: {error}")]
    return [Part(name="broker", ok=True, why="it answers")]


LOOKS: dict[Callable[[], list[Part]], tuple[str, ...]] = {
    look_at_database: ("database", "worker", "beat"),
    look_at_broker: ("broker",),
}
"""Each look, with the names of the parts that it tells of."""


def _worker() -> Part:
    now = timezone.now()
    host = Host.objects.order_by("-last_seen_at").first()
    if host is None:
        return Part(name="worker", ok=False, why="no worker has ever reported")
    age = max(timedelta(0), now - host.last_seen_at)
    why = f"{host.name} reported {age.total_seconds():.0f} s ago"
    return Part(name="worker", ok=age < HOST_ALIVE, why=why)


def _beat() -> Part:
    """Every sample of a host is an entry of beat's schedule that was carried out."""
    newest = ResourceSample.objects.order_by("-id").first()
    if newest is None:
        return Part(name="beat", ok=False, why="nothing of the schedule has ever been carried out")
    interval = upkeep.sample_interval()
    age = max(timedelta(0), timezone.now() - newest.at)
    why = f"the schedule's last sample was taken {age.total_seconds():.0f} s ago, every {interval:g} s is due"
    return Part(name="beat", ok=age < BEAT_MARGIN + timedelta(seconds=3 * interval), why=why)
