"""A connection's subscriptions, and which updates pass them (pure)."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitoring.events import Channel
from monitoring.streams import Wanted
from opencode_site.ws.errors import InvalidValue

MAX_SUBSCRIPTIONS = 100
"""Subscriptions of one connection: each update is held against each of them."""
MAX_FILTER_VALUES = 10_000
"""Values in the filters of all subscriptions of one connection: they are kept as long as it lives."""

Since = Mapping[Channel, int]
"""For each channel, the cursor of the last update that a subscription does not want any more."""


@dataclass(slots=True)
class Subscriptions:
    """What one connection wants to hear."""

    _by_id: dict[str, dict[Channel, Wanted]] = field(default_factory=dict)
    _since: dict[str, Since] = field(default_factory=dict)
    _by_channel: dict[Channel, tuple[Wanted, ...]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _prefix: str = field(default_factory=lambda: secrets.token_hex(3))

    def add(self, channels: Iterable[Channel], filters: Mapping[Channel, Wanted]) -> str:
        """Returns the new subscription's id. Raises `InvalidValue` when there are too many."""
        if len(self._by_id) >= MAX_SUBSCRIPTIONS:
            raise InvalidValue(
                f"Too many subscriptions: at most {MAX_SUBSCRIPTIONS} per connection; unsubscribe from some",
                field="channels",
                value=len(self._by_id),
                expected=f"at most {MAX_SUBSCRIPTIONS} subscriptions",
            )
        wanted = {channel: filters.get(channel, {}) for channel in channels}
        values = _values(wanted) + sum(map(_values, self._by_id.values()))
        if values > MAX_FILTER_VALUES:
            raise InvalidValue(
                f"Too many filter values: at most {MAX_FILTER_VALUES} per connection; unsubscribe from some",
                field="filters",
                value=values,
                expected=f"at most {MAX_FILTER_VALUES} values",
            )
        subscription_id = f"sub_{self._prefix}{next(self._numbers)}"
        self._by_id[subscription_id] = wanted
        self._index()
        return subscription_id

    def remove(self, channels: Iterable[Channel], subscription_id: str | None) -> None:
        """Leaves channels in one subscription, or in all. Raises `InvalidValue` for an unknown id."""
        if subscription_id is not None and subscription_id not in self._by_id:
            raise InvalidValue(
                f"Invalid subscription_id value: {subscription_id!r}. It is none of this connection's",
                field="subscription_id",
                value=subscription_id,
                expected=sorted(self._by_id),
            )
        leaving = set(channels)
        for known in [subscription_id] if subscription_id is not None else list(self._by_id):
            rest = {
                channel: wanted for channel, wanted in self._by_id[known].items() if channel not in leaving
            }
            if rest:
                self._by_id[known] = rest
            else:
                del self._by_id[known]
        self._index()

    def clear(self) -> None:
        """Leaves everything."""
        self._by_id.clear()
        self._index()

    def begin(self, subscription_id: str, since: Since) -> None:
        """Notes from where on a subscription is served."""
        self._since[subscription_id] = {**self._since.get(subscription_id, {}), **since}

    def wanted(self, channel: Channel, subscription_id: str) -> Wanted | None:
        """What a subscription wants of a channel; None if it has left it."""
        return self._by_id.get(subscription_id, {}).get(channel)

    def heard_by_others(self, channel: Channel, cursor: int, facts: Mapping[str, str], *, than: str) -> bool:
        """Whether another subscription of this connection was served this update before."""
        return any(
            channel in wanted
            and cursor > self._since.get(known, {}).get(channel, cursor)
            and _matches(wanted[channel], facts)
            for known, wanted in self._by_id.items()
            if known != than
        )

    def _index(self) -> None:
        self._since = {known: since for known, since in self._since.items() if known in self._by_id}

        self._by_channel = {
            channel: tuple(wanted[channel] for wanted in self._by_id.values() if channel in wanted)
            for channel in {channel for wanted in self._by_id.values() for channel in wanted}
        }

    @property
    def channels(self) -> set[Channel]:
        """The channels that at least one subscription has."""
        return set(self._by_channel)

    def passes(self, channel: Channel, facts: Mapping[str, str]) -> bool:
        """Whether at least one subscription wants an update with these facts."""
        return any(_matches(wanted, facts) for wanted in self._by_channel.get(channel, ()))


def _matches(wanted: Wanted, facts: Mapping[str, str]) -> bool:
    return all(facts.get(name) in values for name, values in wanted.items())


def _values(wanted: Mapping[Channel, Wanted]) -> int:
    return sum(len(values) for facts in wanted.values() for values in facts.values())
