"""Tables of tasks, runs, hosts and processes, that fit into 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.utils import timezone
from rich import box
from rich.table import Table
from rich.text import Text

from opencode_site.access.models import ApiKey
from opencode_site.cli.terminal import line, status
from processes.discovery import ProcessInfo
from tasks.inventory import Inventory
from tasks.models import Host, Run, Task
from tasks.queue import HOST_ALIVE


def tasks_table(tasks: Sequence[Task], runtimes: Mapping[str, tuple[str, str]]) -> Table:
    """What each task is and does; the last column takes what room is left."""
    table = _table("TASK", "STATUS", ">%", "PRIO", "TYPE", ">AGE", "DESCRIPTION")
    for task in tasks:
        word, why = runtimes[task.pk]
        says = task.description if task.status != "failed" else f"{task.error} ({task.description})"
        if word in ("blocked", "stalled"):
            says = f"{why} ({task.description})"
        table.add_row(
            line(task.pk),
            status(word),
            str(task.progress),
            task.get_priority_display(),
            line(task.type),
            ago(task.created_at),
            line(says),
        )
    return table


def runs_table(runs: Sequence[Run]) -> Table:
    """What each attempt came to."""
    table = _table("TASK", ">RUN", "OUTCOME", ">STARTED", ">TOOK", ">TOKENS", ">COST $", "HOST", "REASON")
    for run in runs:
        began = run.started_at or run.created_at
        tokens = run.tokens_input + run.tokens_output + run.tokens_reasoning + run.tokens_cache_read
        table.add_row(
            line(run.task_id),
            str(run.number),
            status(run.outcome or run.state),
            ago(began),
            duration(((run.ended_at or timezone.now()) - began).total_seconds()),
            f"{tokens:,}",
            f"{run.cost:.4f}",
            line(run.host),
            line(run.failure_reason, "red"),
        )
    return table


def keys_table(keys: Iterable[ApiKey]) -> Table:
    """API keys, without their secrets."""
    table = _table("PREFIX", "SCOPE", "STATE", "CREATED", "EXPIRES", "LAST USED", "NAME")
    for key in keys:
        times = (key.created_at, key.expires_at, key.last_used_at)
        days = (f"{timezone.localtime(at):%Y-%m-%d}" if at else "never" for at in times)
        table.add_row(key.prefix, key.scope, key.state, *days, line(key.name))
    return table


def hosts_table(hosts: Sequence[Host], busy: Mapping[str, int]) -> Table:
    """Who runs agents, and who has gone silent."""
    table = _table("HOST", "STATE", ">BUSY", ">SLOTS", ">SEEN", ">UP", "AGENTS")
    for host in hosts:
        word = host_state(host)
        style = {"alive": "green", "paused": "yellow", "silent": "red"}[word]
        found = ", ".join(f"{name} {path or '(not found)'}" for name, path in sorted(host.agents.items()))
        table.add_row(
            line(host.name),
            Text(word, style=style),
            str(busy.get(host.name, 0)),
            str(host.slots),
            ago(host.last_seen_at),
            ago(host.started_at) if word != "silent" else "",
            line(f"{host.paused_because} {found}" if host.paused_because else found),
        )
    return table


def host_state(host: Host) -> str:
    """`alive`, `paused` (it starts no new runs) or `silent`."""
    if host.last_seen_at < timezone.now() - HOST_ALIVE:
        return "silent"
    return "paused" if host.paused_because else "alive"


def processes_table(processes: Sequence[ProcessInfo], seen: Inventory) -> Table:
    """Some of what runs on this host."""
    table = _table(">PID", "AGENT", "TASK", ">CPU %", ">MB", "STATE", ">AGE", "COMMAND")
    for info in processes:
        owner, kind = seen.owners.get(info.pid), seen.kind_of(info)
        table.add_row(
            str(info.pid),
            kind.value if kind else "",
            line(owner.task_id if owner else ""),
            f"{info.cpu_percent:.1f}",
            f"{info.memory_rss / 2**20:,.0f}",
            info.status,
            duration(timezone.now().timestamp() - info.create_time),
            line(info.cmdline),
        )
    return table


def ago(moment: datetime) -> str:
    """How long ago it was."""
    return duration((timezone.now() - moment).total_seconds())


def duration(seconds: float) -> str:
    """In its largest unit, two for what is short: 12s, 4m05s, 3h20m, 5d."""
    # After the clock was set back a moment may lie in the future.
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d"


def _table(*columns: str) -> Table:
    """`>` before a heading: to the right. The first column with words and the last one give way."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=False
    )
    for place, heading in enumerate(columns):
        name = heading.removeprefix(">")
        wide = place == len(columns) - 1
        gives_way = wide or name in ("TASK", "TYPE", "HOST")
        table.add_column(
            name,
            justify="right" if name != heading else "left",
            overflow="ellipsis",
            no_wrap=not gives_way,
            min_width=8 if gives_way else None,
            max_width=None if wide else 28,
        )
    return table
