"""The updates of a channel as rows of the database, in the order in which they became visible.

The id of its row is an update's cursor. Whoever has read up to a cursor has missed exactly the rows with a
greater id: rows of one stream become visible in the order of their ids, whichever process adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, models
from django.db.models import Max
from django.db.transaction import TransactionManagementError

from monitoring.events import Channel, Event
from monitoring.models import StreamFloor

ADVISORY_LOCKS = 0x0C0DE
"""The class of PostgreSQL's advisory locks that order the streams; the channel's place is the key."""

Wanted = Mapping[str, AbstractSet[str]]
"""The facts that an update must have: name of the fact → the values that pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One channel's updates."""

    channel: Channel
    rows: Callable[[], models.QuerySet[Any]]
    event: Callable[[Any], Event]
    """The update message that a row tells of."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For each fact that filters look at, the column that holds it."""

    def hold(self) -> int:
        """To be called just before rows are added: until the transaction ends nobody else adds any.

        So on PostgreSQL ids become visible in order; SQLite has one writer anyway. Returns the newest id,
        which the first new row comes after. Lock no row of others after this: they may wait for this lock.
        Raises `TransactionManagementError` outside of a transaction.
        """
        if not connection.in_atomic_block:
            raise TransactionManagementError(f"rows are added to {self.channel} outside of a transaction")
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                place = list(Channel).index(self.channel)
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [ADVISORY_LOCKS, place])
        return self.head()

    def head(self) -> int:
        """The newest row's id; 0 if there is none."""
        newest: int | None = self.rows().aggregate(newest=Max("pk"))["newest"]
        return newest or 0

    def floor(self) -> int:
        """The newest id that retention has taken away: from an older cursor nothing can be resumed."""
        pruned = StreamFloor.objects.filter(channel=self.channel).values_list("position", flat=True).first()
        return pruned or 0

    def after(
        self, position: int, *, limit: int, until: int | None = None, wanted: Wanted | None = None
    ) -> list[Event]:
        """The oldest updates after a position that pass, in order; with `until`, none beyond that id."""
        rows = self.rows().filter(pk__gt=position)
        if until is not None:
            rows = rows.filter(pk__lte=until)
        for fact, values in (wanted or {}).items():
            rows = rows.filter(**{f"{self.columns[fact]}__in": sorted(values)})
        return [self.event(row) for row in rows.order_by("pk")[:limit]]

    def note_pruned(self, position: int) -> None:
        """Remembers, in the transaction that takes them away, that rows up to this id may be missing."""
        StreamFloor.objects.bulk_create(
            [StreamFloor(channel=self.channel, position=max(position, self.floor()))],
            update_conflicts=True,
            unique_fields=["channel"],
            update_fields=["position"],
        )
