"""The update messages about tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from monitoring.events import Channel, Cursor, Event, Message, Timestamp
from monitoring.publish import publish
from monitoring.streams import Stream
from processes.classification import AgentKind
from processes.models import SeenAgent
from tasks.models import AgentState, Run, Status, Transition


class TaskStatusUpdate(Message):
    """A task's status or progress changed. Sent to subscribers of `task_status`."""

    type: Literal["task_status_update"] = "task_status_update"
    task_id: str
    old_status: Status = Field(description="Equals `new_status` when only the progress changed.")
    new_status: Status
    progress: int = Field(ge=0, le=100)
    timestamp: Timestamp
    cursor: Cursor


class AgentRecord(Message):
    """An agent: a run in flight, or an agent process on a host that no run of ours owns."""

    id: str = Field(description="The task's id for a run of ours; stable while the agent lives.")
    status: str = Field(
        description="starting, running, stalled or cancelling; the process's state for others."
    )
    type: str = Field(description="opencode, claude, claude_desktop, codex or gemini.")
    task: str = Field(description="The task's description, or what the process was started for.")
    progress: int = Field(ge=0, le=100)
    start_time: Timestamp
    memory_usage: int = Field(description="Bytes, of all its processes.")
    cpu_percent: float = Field(description="Of one core, over the last sampling interval.")
    working_dir: str
    is_claude_desktop: bool
    process_type: str
    host: str
    task_id: str | None = None
    pid: int | None = None
    last_message: str | None = Field(default=None, description="What it said last.")
    timestamp: Timestamp


class AgentUpdate(Message):
    """An agent was measured, or has ended. Sent to subscribers of `agent_status`."""

    type: Literal["agent_update"] = "agent_update"
    agent: AgentRecord
    cursor: Cursor


TASK_LIMIT = 200
"""Characters of a description that an agent is shown with."""


def run_agent(run: Run, *, status: str) -> AgentRecord:
    """A run in flight or just ended, as an agent. Its time is that of its figures."""
    return AgentRecord.model_construct(
        id=run.task_id,
        status=status,
        type=run.agent,
        task=run.task.description[:TASK_LIMIT],
        progress=run.task.progress,
        start_time=run.started_at or run.created_at,
        memory_usage=run.memory_usage or 0,
        cpu_percent=round(run.cpu_percent or 0.0, 1),
        working_dir=run.task.working_dir,
        is_claude_desktop=False,
        process_type=run.agent,
        host=run.host,
        task_id=run.task_id,
        pid=run.agent_pid,
        last_message=run.report.get("last_message") or None,
        timestamp=run.ended_at or run.measured_at or run.started_at or run.created_at,
    )


def foreign_agent(seen: SeenAgent, *, status: str | None = None) -> AgentRecord:
    """An agent that somebody else has started."""
    return AgentRecord.model_construct(
        id=f"{seen.host}:{seen.pid}:{seen.create_time:.0f}",
        status=status or seen.status,
        type=seen.kind,
        task=seen.activity,
        progress=0,
        start_time=datetime.fromtimestamp(seen.create_time, UTC),
        memory_usage=seen.memory_rss,
        cpu_percent=round(seen.cpu_percent, 1),
        working_dir=seen.working_dir,
        is_claude_desktop=seen.kind == AgentKind.CLAUDE_DESKTOP,
        process_type=seen.kind,
        host=seen.host,
        pid=seen.pid,
        timestamp=seen.last_seen_at,
    )


def publish_agents(agents: Sequence[AgentRecord]) -> None:
    """Tells the subscribers of `agent_status` after the commit."""
    if not agents:
        return
    after = AGENT_STREAM.hold()
    AgentState.objects.filter(agent__in=[agent.id for agent in agents]).delete()
    states = AgentState.objects.bulk_create(
        AgentState(agent=agent.id, record=agent.model_dump(mode="json"), at=agent.timestamp)
        for agent in agents
    )
    publish(Channel.AGENT_STATUS, [agent_event(state) for state in states], after=after)


def agent_event(state: AgentState) -> Event:
    """The update message of an agent's state."""
    agent = AgentRecord.model_validate(state.record)
    update = AgentUpdate.model_construct(agent=agent, cursor=str(state.pk))
    return Event(id=state.pk, facts={"agent": state.agent}, frame=update.frame())


def status_event(transition: Transition) -> Event:
    """The update message of a transition; a submission is told as `pending` to `pending`."""
    update = TaskStatusUpdate.model_construct(
        task_id=transition.task_id,
        old_status=Status(transition.old_status or transition.new_status),
        new_status=Status(transition.new_status),
        progress=transition.progress,
        timestamp=transition.at,
        cursor=str(transition.pk),
    )
    facts = {"task_id": transition.task_id, "status": transition.new_status}
    return Event(id=transition.pk, facts=facts, frame=update.frame())


TASK_STREAM = Stream(
    channel=Channel.TASK_STATUS,
    rows=Transition.objects.all,
    event=status_event,
    columns={"task_id": "task_id"},
)
AGENT_STREAM = Stream(
    channel=Channel.AGENT_STATUS,
    rows=AgentState.objects.all,
    event=agent_event,
    columns={"agent": "agent"},
)
