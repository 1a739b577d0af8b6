"""The streams behind the channels, and what an event loop asks of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from monitoring.events import Channel, Event
from monitoring.logbook import LOG_STREAM
from monitoring.sampling import SAMPLE_STREAM
from monitoring.streams import Stream, Wanted
from opencode_site.ws.database import in_database
from tasks.events import AGENT_STREAM, TASK_STREAM

STREAMS: Final[dict[Channel, Stream]] = {
    stream.channel: stream for stream in (SAMPLE_STREAM, TASK_STREAM, LOG_STREAM, AGENT_STREAM)
}
PAGE: Final = 500
"""Updates that are read from the database at a time."""


async def heads(channels: Iterable[Channel]) -> dict[Channel, int]:
    """The newest id of each channel."""
    wanted = list(channels)
    return await in_database(lambda: {channel: STREAMS[channel].head() for channel in wanted})


async def floors(channels: Iterable[Channel]) -> dict[Channel, int]:
    """What retention has taken away of each channel."""
    wanted = list(channels)
    return await in_database(lambda: {channel: STREAMS[channel].floor() for channel in wanted})


async def page(
    channel: Channel, position: int, *, until: int | None = None, wanted: Wanted | None = None
) -> list[Event]:
    """The next `PAGE` updates after a position, fewer if there are no more."""
    return await in_database(STREAMS[channel].after, position, limit=PAGE, until=until, wanted=wanted)
