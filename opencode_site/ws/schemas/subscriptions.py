"""Subscribing to updates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from monitoring.events import Timestamp
from opencode_site.ws.schemas.basic import Input, Reply, Request
from opencode_site.ws.schemas.monitoring import LevelName
from opencode_site.ws.schemas.tasks import TaskRef

ChannelName = Literal["system_resources", "task_status", "log_entries", "agent_status"]
MAX_FILTER_ENTRIES = 1000
MAX_CURSOR_DIGITS = 18
"""What every database's integers hold."""


def _is_cursor(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_CURSOR_DIGITS):
        raise ValueError("a cursor as an update carries it")
    return text


class TaskStatusFilter(Input):
    """Only updates of these tasks."""

    task_ids: list[TaskRef] | None = Field(default=None, max_length=MAX_FILTER_ENTRIES)


class LogEntriesFilter(Input):
    """Only entries of these levels and of these tasks' agents."""

    levels: list[LevelName] | None = Field(default=None, max_length=MAX_FILTER_ENTRIES)
    agents: list[TaskRef] | None = Field(default=None, max_length=MAX_FILTER_ENTRIES)


class AgentStatusFilter(Input):
    """Only updates of these agents."""

    agents: list[TaskRef] | None = Field(default=None, max_length=MAX_FILTER_ENTRIES)


class Filters(Input):
    """A filter for each channel that is to have one."""

    task_status: TaskStatusFilter = TaskStatusFilter()
    log_entries: LogEntriesFilter = LogEntriesFilter()
    agent_status: AgentStatusFilter = AgentStatusFilter()


CursorText = Annotated[
    str,
    AfterValidator(_is_cursor),
    Field(max_length=32, description="The `cursor` of an update, or of a confirmation.", examples=["48212"]),
]


class Cursors(Input):
    """For each channel, the last update that is known already."""

    system_resources: CursorText | None = None
    task_status: CursorText | None = None
    log_entries: CursorText | None = None
    agent_status: CursorText | None = None


class SubscribeToUpdates(Request):
    """Asks to be told what happens, and with `resume_from` also what has happened after a cursor.

    What was missed comes first, in order, without a gap or a double, filtered like all updates; of
    `agent_status` it is the newest update of each agent. A cursor that the server does not have any more is
    answered with `INVALID_FIELD_VALUE`: take a snapshot (`request_status`) and subscribe without it.
    """

    type: Literal["subscribe_to_updates"]
    channels: list[ChannelName] = Field(min_length=1, max_length=100)
    filters: Filters = Filters()
    resume_from: Cursors = Cursors()


class SubscriptionConfirmed(Reply):
    """Updates come from now on."""

    type: Literal["subscription_confirmed"] = "subscription_confirmed"
    channels: list[ChannelName]
    subscription_id: str
    cursors: dict[ChannelName, str] = Field(
        description="For each channel, the cursor after which updates come.",
        examples=[{"task_status": "311"}],
    )
    timestamp: Timestamp


class UnsubscribeFromUpdates(Request):
    """Asks not to be told any more; without a subscription's id, in none of the connection's."""

    type: Literal["unsubscribe_from_updates"]
    channels: list[ChannelName] = Field(min_length=1, max_length=100)
    subscription_id: str | None = Field(default=None, max_length=128)


class UnsubscriptionConfirmed(Reply):
    """No more updates of these channels come (from this subscription)."""

    type: Literal["unsubscription_confirmed"] = "unsubscription_confirmed"
    channels: list[ChannelName]
    subscription_id: str = Field(description="Empty if none was named.")
    timestamp: Timestamp
