"""Answers to requests about processes."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
from django.conf import settings
from django.db import connection as database

from opencode_site.ws.connection import Connection
from opencode_site.ws.database import in_database
from opencode_site.ws.errors import Code, ProtocolError
from opencode_site.ws.schemas.basic import now
from opencode_site.ws.schemas.processes import (
    AgentProcess,
    ClaudeProcesses,
    KillProcess,
    ProcessKilled,
    ProcessKilledData,
    ProcessList,
    ProcessListData,
    RequestClaudeProcesses,
    RequestProcessList,
    SystemLoad,
    agent_process,
    process_record,
)
from processes.errors import ControlError, KillFailed, NoSuchProcess, NotAllowed
from processes.models import Kill
from tasks import inventory, services

CODES: dict[type[ControlError], Code] = {
    NoSuchProcess: Code.PROCESS_NOT_FOUND,
    NotAllowed: Code.PERMISSION_DENIED,
    KillFailed: Code.PROCESS_KILL_FAILED,
}
# A kill waits for the end of its process: it may not take a thread that others need for the database.
_killers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="kill")


async def request_process_list(connection: Connection, request: RequestProcessList) -> ProcessList:
    """The processes of this host, agents first, then by CPU."""
    return ProcessList.model_construct(data=await in_database(_process_list, request))


def _process_list(request: RequestProcessList) -> ProcessListData:
    seen = inventory.look()
    wanted = request.filter
    matching = [
        info
        for info in seen.processes
        if (wanted.type is None or seen.kind_of(info) == wanted.type)
        and (wanted.status is None or info.status == wanted.status)
    ]
    matching.sort(key=lambda info: (seen.kind_of(info) is None, -info.cpu_percent, info.pid))
    load1, load5, load15 = psutil.getloadavg()
    return ProcessListData.model_construct(
        processes=[process_record(info, seen) for info in matching[: request.limit]],
        total_count=len(matching),
        system_load=SystemLoad.model_construct(load1=load1, load5=load5, load15=load15),
        timestamp=now(),
    )


async def request_claude_processes(
    connection: Connection, request: RequestClaudeProcesses
) -> ClaudeProcesses:
    """The agent processes of this host."""
    return ClaudeProcesses.model_construct(processes=await in_database(agent_processes), timestamp=now())


def agent_processes() -> list[AgentProcess]:
    """The agent processes of this host, with when each was seen first."""
    agents = inventory.look().agents
    first_seen = inventory.first_sightings(agents)
    return [agent_process(seen, first_seen.get(seen.info.pid, now())) for seen in agents]


async def kill_process(connection: Connection, request: KillProcess) -> ProcessKilled | None:
    """Replies when the process is gone, or when it is still there after the grace."""
    await connection.server.limit_kill()
    connection.reply_later(request, _kill(request, asked_by=connection.principal.name))
    return None


async def _kill(request: KillProcess, *, asked_by: str) -> ProcessKilled:
    account = await asyncio.get_running_loop().run_in_executor(_killers, _kill_and_wait, request, asked_by)
    data = ProcessKilledData.model_construct(
        pid=request.pid,
        signal=request.signal,
        success=True,
        termination_time=account.ended_at or now(),
        task_id=account.task_id or None,
    )
    return ProcessKilled.model_construct(data=data)


def _kill_and_wait(request: KillProcess, asked_by: str) -> Kill:
    try:
        return services.kill_process(
            request.pid, signal.Signals[request.signal], asked_by=asked_by[:255], grace=settings.KILL_GRACE
        )
    except ControlError as error:
        raise ProtocolError(CODES[type(error)], str(error), pid=request.pid, signal=request.signal) from error
    finally:
        database.close()
