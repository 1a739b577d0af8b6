"""Answers to requests about updates."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.events import Channel
from monitoring.streams import Wanted
from opencode_site.ws import streams
from opencode_site.ws.connection import Connection
from opencode_site.ws.errors import InvalidValue
from opencode_site.ws.schemas.basic import now
from opencode_site.ws.schemas.subscriptions import (
    Filters,
    SubscribeToUpdates,
    SubscriptionConfirmed,
    UnsubscribeFromUpdates,
    UnsubscriptionConfirmed,
)

SNAPSHOTS = {
    Channel.SYSTEM_RESOURCES: "request_system_resources",
    Channel.TASK_STATUS: "request_status",
    Channel.LOG_ENTRIES: "request_log_entries",
    Channel.AGENT_STATUS: "request_status",
}
"""What tells the state that the channel's updates change."""


async def subscribe_to_updates(connection: Connection, request: SubscribeToUpdates) -> SubscriptionConfirmed:
    """The channels are followed before the confirmation leaves: no update falls between."""
    names = list(dict.fromkeys(request.channels))
    channels = [Channel(name) for name in names]
    known = await _known(request)
    subscription_id = connection.subscriptions.add(channels, _wanted(request.filters))
    try:
        since = await connection.begin(subscription_id, channels, known)
    except BaseException:
        connection.subscriptions.remove(channels, subscription_id)
        raise
    return SubscriptionConfirmed.model_construct(
        channels=names,
        subscription_id=subscription_id,
        cursors={name: str(since[Channel(name)]) for name in names},
        timestamp=now(),
    )


async def _known(request: SubscribeToUpdates) -> dict[Channel, int]:
    """The cursors to resume from. Raises `InvalidValue` for those from which nothing can be resumed."""
    texts = request.resume_from.model_dump(exclude_none=True)
    known = {Channel(name): int(text) for name, text in texts.items()}
    if not known:
        return {}
    for channel in known:
        if channel not in request.channels:
            raise _cannot_resume(channel, texts[channel], "a channel that is in `channels`")
    floors, heads = await streams.floors(known), await streams.heads(known)
    for channel, cursor in known.items():
        if not floors[channel] <= cursor <= heads[channel]:
            raise _cannot_resume(channel, texts[channel], f"{floors[channel]} to {heads[channel]}")
    return known


def _cannot_resume(channel: Channel, cursor: str, expected: str) -> InvalidValue:
    return InvalidValue(
        f"Updates of {channel} cannot be resumed from {cursor}: this server has {expected}. Take a snapshot "
        f"({SNAPSHOTS[channel]}) and subscribe without resume_from",
        field=f"resume_from.{channel}",
        value=cursor,
        expected=expected,
    )


async def unsubscribe_from_updates(
    connection: Connection, request: UnsubscribeFromUpdates
) -> UnsubscriptionConfirmed:
    """Leaves channels in one subscription, or in all of the connection's."""
    channels = list(dict.fromkeys(request.channels))
    connection.subscriptions.remove(map(Channel, channels), request.subscription_id)
    await connection.follow()
    return UnsubscriptionConfirmed.model_construct(
        channels=channels, subscription_id=request.subscription_id or "", timestamp=now()
    )


def _wanted(filters: Filters) -> dict[Channel, Wanted]:
    asked: dict[Channel, dict[str, Sequence[str] | None]] = {
        Channel.TASK_STATUS: {"task_id": filters.task_status.task_ids},
        Channel.LOG_ENTRIES: {"level": filters.log_entries.levels, "agent": filters.log_entries.agents},
        Channel.AGENT_STATUS: {"agent": filters.agent_status.agents},
    }
    return {
        channel: {name: frozenset(values) for name, values in facts.items() if values is not None}
        for channel, facts in asked.items()
    }
