"""The update messages about what happened, and the parts that all messages of the protocol share."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from monitoring.models import Level
from monitoring.times import utc_text

Timestamp = Annotated[
    datetime,
    PlainSerializer(utc_text, return_type=str),
    Field(description="UTC, ISO 8601 with milliseconds and Z", examples=["2024-01-15T10:30:00.000Z"]),
]


class Channel(enum.StrEnum):
    """What a client can subscribe to."""

    SYSTEM_RESOURCES = "system_resources"
    TASK_STATUS = "task_status"
    LOG_ENTRIES = "log_entries"
    AGENT_STATUS = "agent_status"

    @property
    def group(self) -> str:
        """The channel layer's group for this channel."""
        return f"updates.{self.value}"


class Message(BaseModel):
    """A message of the protocol, as it goes over the wire."""

    model_config = ConfigDict(extra="forbid")

    @model_serializer(mode="wrap")
    def _leave_out_none(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An optional field without a value is absent, as the spec's `?` says; nulls inside details stay."""
        return {name: value for name, value in dump(self).items() if value is not None}

    def frame(self) -> str:
        """The message as the text of one WebSocket frame."""
        return self.model_dump_json()


class LogRecord(Message):
    """One line of a log."""

    id: int = Field(description="Grows with every entry of the server.")
    time: Timestamp
    level: Level
    message: str
    agent: str = Field(description="The id of the task whose agent wrote it; empty for the server itself.")
    details: dict[str, Any]


Cursor = Annotated[
    str,
    Field(
        description="Where this update stands in its channel: `subscribe_to_updates` resumes after it.",
        examples=["48212"],
    ),
]


class LogEntryUpdate(Message):
    """A line was added to the log. Sent to subscribers of `log_entries`."""

    type: Literal["log_entry"] = "log_entry"
    log: LogRecord
    cursor: Cursor


class SystemResources(Message):
    """The load of a host. Percentages are of the whole machine, over the last sampling interval."""

    host: str = Field(description="The agent host that was measured.")
    cpu_usage: float = Field(description="Percent of all cores.", examples=[45.2])
    memory_usage: float = Field(description="Percent.", examples=[67.8])
    memory_used: int = Field(description="Bytes.", examples=[6871947673])
    memory_total: int = Field(description="Bytes.", examples=[17179869184])
    disk_usage: float = Field(description="Percent, as `df` shows it.", examples=[23.4])
    disk_used: int = Field(description="Bytes, of the file system that holds the data directory.")
    disk_total: int = Field(description="Bytes.")
    active_processes: int = Field(description="All processes of the host.")
    claude_processes: int = Field(description="Agent processes of the host, of whatever kind.")
    timestamp: Timestamp


class ResourceUpdate(Message):
    """A host was measured. Sent to subscribers of `system_resources`."""

    type: Literal["resource_update"] = "resource_update"
    resources: SystemResources
    cursor: Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An update on its way to subscribers: the frame is encoded once, `facts` are what filters look at."""

    id: int
    """Of the row that it tells of; grows along the channel."""
    facts: dict[str, str]
    frame: str
