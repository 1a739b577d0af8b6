"""`manage.py tasks`: the tasks as a table or JSON."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from opencode_site.cli.options import known_agent, whole
from opencode_site.cli.tables import tasks_table
from opencode_site.ws.errors import from_validation
from opencode_site.ws.schemas.tasks import ListTasks, task_record
from tasks.models import Priority
from tasks.selectors import TaskPage, list_tasks, runtimes

INTERVAL = 1.0
"""Seconds between two looks of --watch."""


class Command(command.Command):
    help = """
        Shows tasks, newest first, and what each is doing just now. Reads the database: no server is needed.
        """
    usage = "[options]"
    examples = (
        ("tasks", "the newest 50 tasks"),
        ("tasks --status failed --limit 10", "the last ten that failed"),
        ("tasks --watch", "look on, until Ctrl-C"),
        ("tasks --json | jq -r '.[] | select(.progress < 50) | .id'", "for a script"),
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--status", help="pending, running, completed, failed or cancelled")
        parser.add_argument("--priority", help="low, medium or high")
        parser.add_argument("--type", help="the type that the task was given")
        parser.add_argument("--agent", help="the agent that works on it, like opencode")
        parser.add_argument("--limit", default="50", metavar="N", help="1 to 1000 tasks; 50 by default")
        parser.add_argument(
            "--json", action="store_true", help="a JSON array, as in the protocol's task_list"
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="show every change until Ctrl-C; with --json one array on each line",
        )

    def work(self, options: dict[str, Any]) -> ExitCode:
        names = ("status", "priority", "type")
        wanted = {"filter": {name: options[name] for name in names}, "limit": whole(options["limit"])}
        try:
            request = ListTasks.model_validate({"type": "list_tasks", **wanted})
        except ValidationError as error:
            raise from_validation(error) from error
        agent = known_agent(options["agent"])
        if options["watch"]:
            self._watch(request, agent, as_json=options["json"])
        elif options["json"]:
            self.write_json(_records(_page(request, agent)))
        else:
            self.out.print(_shown(_page(request, agent)))
        return ExitCode.DONE

    def _watch(self, request: ListTasks, agent: str | None, *, as_json: bool) -> None:
        if self.out.is_terminal and not as_json:
            with Live(console=self.out, screen=True, auto_refresh=False) as live:
                for page in _looks(request, agent):
                    live.update(_shown(page), refresh=True)
            return
        before: list[dict[str, Any]] | None = None
        for page in _looks(request, agent):
            records = _records(page)
            if records != before:
                self.out.print(json.dumps(records) if as_json else _shown(page), soft_wrap=as_json)
                self.out.file.flush()
            before = records


def _looks(request: ListTasks, agent: str | None) -> Iterator[TaskPage]:
    while True:
        yield _page(request, agent)
        time.sleep(INTERVAL)


def _page(request: ListTasks, agent: str | None) -> TaskPage:
    wanted = request.filter
    return list_tasks(
        status=wanted.status,
        type=wanted.type,
        priority=Priority[wanted.priority.upper()] if wanted.priority else None,
        agent=agent,
        limit=request.limit,
    )


def _records(page: TaskPage) -> list[dict[str, Any]]:
    doing = runtimes(page.tasks)
    return [
        {
            **task_record(task).model_dump(mode="json"),
            "runtime_status": doing[task.pk][0],
            "runtime_detail": doing[task.pk][1],
        }
        for task in page.tasks
    ]


def _shown(page: TaskPage) -> Table | Group | Text:
    count = f"{len(page.tasks)} of {page.filtered_count} that match, {page.total_count} in all"
    if not page.tasks:
        return Text(f"No task matches ({page.total_count} in all).")
    return Group(tasks_table(page.tasks, runtimes(page.tasks)), Text(count, style="dim"))
