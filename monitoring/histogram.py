"""A mergeable histogram of durations with a bounded relative error (pure).

Buckets grow by the factor `GROWTH`; bucket i is between GROWTH^(i-1) and GROWTH^i milliseconds; its
middle is at most 2.5 % away from it. The idea is DDSketch's (Masson, Rim, Lee: VLDB 2019).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

GROWTH = 1.05
_LOG = math.log(GROWTH)
SMALLEST_MS = 0.001
"""Durations below a microsecond are counted as one."""


@dataclass(slots=True)
class Histogram:
    """Counts of durations in milliseconds."""

    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = 0.0
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, milliseconds: float) -> None:
        self.count += 1
        self.total += milliseconds
        self.low = min(self.low, milliseconds)
        self.high = max(self.high, milliseconds)
        self.buckets[math.ceil(math.log(max(milliseconds, SMALLEST_MS)) / _LOG)] += 1

    def merge(self, other: Histogram) -> None:
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        self.buckets.update(other.buckets)

    @property
    def average(self) -> float:
        """Milliseconds; 0 when empty."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The duration in milliseconds that `percent` of all do not exceed (nearest rank); 0 when empty."""
        rank = math.ceil(self.count * percent / 100)
        seen = 0
        for index in sorted(self.buckets):
            seen += self.buckets[index]
            if seen >= rank > 0:
                middle = 2 * GROWTH**index / (GROWTH + 1)
                return min(max(middle, self.low), self.high)
        return 0.0

    def dump(self) -> dict[str, int]:
        """The buckets as a JSON object."""
        return {str(index): count for index, count in self.buckets.items()}


def loaded(buckets: Mapping[str, int]) -> Counter[int]:
    """The buckets that `dump` has given."""
    return Counter({int(index): number for index, number in buckets.items()})
