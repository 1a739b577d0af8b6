"""Requests and replies about processes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from monitoring.events import Message, Timestamp
from opencode_site.ws.schemas.basic import Input, Reply, Request, Whole
from opencode_site.ws.schemas.tasks import Text
from processes.classification import AgentKind
from processes.discovery import ProcessInfo
from processes.services import Sighting
from tasks.inventory import Inventory

KindName = Literal["opencode", "claude", "claude_desktop", "codex", "gemini"]
SignalName = Literal["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT"]


class ProcessFilter(Input):
    """Only processes that match all of these."""

    type: KindName | None = None
    status: Text | None = Field(default=None, max_length=32, examples=["running"])


class RequestProcessList(Request):
    """Asks for the processes of the web server's host: agents first, then by CPU."""

    type: Literal["request_process_list"]
    filter: ProcessFilter = ProcessFilter()
    limit: Whole = Field(default=100, ge=1, le=10_000)


class RequestClaudeProcesses(Request):
    """Asks for the agent processes, of whatever kind, on the web server's host."""

    type: Literal["request_claude_processes"]


class KillProcess(Request):
    """Ends an agent, or a process that one of our runs has started."""

    type: Literal["kill_process"]
    pid: Whole = Field(ge=-(2**31), le=2**31 - 1)
    signal: SignalName = "SIGTERM"


class ProcessRecord(Message):
    """A process."""

    pid: int
    name: str
    cmdline: str
    status: str
    cpu_percent: float = Field(description="Of one core, since the scan before.")
    memory_percent: float
    memory_rss: int = Field(description="Bytes.")
    create_time: float = Field(description="Epoch seconds.")
    type: KindName | None = Field(default=None, description="Of agents only.")
    task_id: str | None = Field(default=None, description="Of what our runs have started.")
    working_dir: str | None = Field(default=None, description="Of agents only.")


class SystemLoad(Message):
    """The load averages of the host."""

    load1: float
    load5: float
    load15: float


class ProcessListData(Message):
    """A list of processes."""

    processes: list[ProcessRecord]
    total_count: int = Field(description="All that match the filter.")
    system_load: SystemLoad
    timestamp: Timestamp


class ProcessList(Reply):
    """The processes of a host."""

    type: Literal["process_list"] = "process_list"
    data: ProcessListData


class AgentProcess(Message):
    """An agent process."""

    pid: int
    type: AgentKind
    status: str
    cmdline: str
    name: str
    start_time: Timestamp
    memory_usage: int = Field(description="Bytes.")
    memory_percent: float
    cpu_percent: float = Field(description="Of one core, since the scan before.")
    task_id: str | None = Field(default=None, description="Of agents of our runs only.")
    run_id: str | None = None
    working_dir: str
    is_opencode: bool
    is_claude_desktop: bool
    activity: str = Field(description="executing_task, serving, editor_session or interactive.")
    discovered_at: Timestamp


class ClaudeProcesses(Reply):
    """The agent processes of a host."""

    type: Literal["claude_processes"] = "claude_processes"
    processes: list[AgentProcess]
    timestamp: Timestamp


class ProcessKilledData(Message):
    """What became of a process."""

    pid: int
    signal: SignalName
    success: bool
    termination_time: Timestamp
    task_id: str | None = Field(
        default=None, description="Of a process of our own runs; null: somebody else's agent (extension)."
    )


class ProcessKilled(Reply):
    """The process is gone."""

    type: Literal["process_killed"] = "process_killed"
    data: ProcessKilledData


def process_record(info: ProcessInfo, seen: Inventory) -> ProcessRecord:
    """A process as the protocol shows it; `seen` is the scan that it is from."""
    owner, kind = seen.owners.get(info.pid), seen.kind_of(info)
    return ProcessRecord.model_construct(
        pid=info.pid,
        name=text(info.name),
        cmdline=text(info.cmdline),
        status=info.status,
        cpu_percent=round(info.cpu_percent, 1),
        memory_percent=round(info.memory_percent, 2),
        memory_rss=info.memory_rss,
        create_time=round(info.create_time, 2),
        type=kind.value if kind else None,
        task_id=owner.task_id if owner else None,
        working_dir=text(info.working_dir) or None,
    )


def agent_process(seen: Sighting, discovered_at: datetime) -> AgentProcess:
    """An agent process as the protocol shows it."""
    info = seen.info
    return AgentProcess.model_construct(
        pid=info.pid,
        type=seen.kind,
        status=info.status,
        cmdline=text(info.cmdline),
        name=text(info.name),
        start_time=datetime.fromtimestamp(info.create_time, UTC),
        memory_usage=info.memory_rss,
        memory_percent=round(info.memory_percent, 2),
        cpu_percent=round(info.cpu_percent, 1),
        task_id=seen.task_id or None,
        run_id=str(seen.run_id) if seen.run_id else None,
        working_dir=text(info.working_dir),
        is_opencode=seen.kind is AgentKind.OPENCODE,
        is_claude_desktop=seen.kind is AgentKind.CLAUDE_DESKTOP,
        activity=info.activity,
        discovered_at=discovered_at,
    )


def text(of_the_system: str) -> str:
    """Without lone surrogates: names and arguments of processes may hold any byte."""
    return of_the_system.encode("utf-8", "replace").decode()
