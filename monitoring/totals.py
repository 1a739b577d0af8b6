"""Running totals over all processes and hosts, which retention does not make smaller.

They are added to in the transaction of what they count, so that they are as true as it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from django.db import connection

from monitoring.models import Total

Labels = tuple[str, ...]
"""The values of a total's labels, in the order in which its reader names them."""


def bucket_names(bounds: Sequence[float]) -> list[str]:
    """A histogram's buckets by their upper bounds, as Prometheus writes them."""
    return [*(f"{bound:g}" for bound in bounds), "+Inf"]


class Totals:
    """What one transaction has to add."""

    def __init__(self) -> None:
        self._added: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        if value:
            self._added[name, "\t".join(labels)] += value  # type: ignore[assignment] # floats, too

    def observe(self, name: str, value: float, bounds: tuple[float, ...], *labels: str) -> None:
        """Counts a value into the histogram with these upper bounds."""
        self.add(f"{name}_bucket", 1, *labels, bucket_names(bounds)[bisect_left(bounds, value)])
        self.add(f"{name}_sum", max(value, 0.0), *labels)

    def store(self) -> None:
        """To be called last in the transaction: everybody else who counts the same waits until its end."""
        if not self._added:
            return
        # In one order, so that two transactions never wait for each other; the ORM cannot add on a conflict.
        rows = sorted(self._added.items())
        places = ", ".join(["(%s, %s, %s)"] * len(rows))
        table = Total._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (name, labels, value) VALUES {places} "  # noqa: S608 - our own table
                f"ON CONFLICT (name, labels) DO UPDATE SET value = {table}.value + excluded.value",
                list(chain.from_iterable((*key, float(value)) for key, value in rows)),
            )


def totals() -> Mapping[str, dict[Labels, float]]:
    """All of them: name to labels to value."""
    found: dict[str, dict[Labels, float]] = {}
    for name, labels, value in Total.objects.values_list("name", "labels", "value"):
        found.setdefault(name, {})[tuple(labels.split("\t")) if labels else ()] = value
    return found
