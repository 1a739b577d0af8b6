"""`manage.py retry`: queues failed or cancelled tasks again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from tasks import services


class Command(command.Command):
    help = "Queues failed or cancelled tasks again. The server need not run: they then wait for it."
    usage = "ID..."
    examples = (
        ("retry plan-1", "once more"),
        ("retry $(manage.py tasks --status failed --json | jq -r '.[].id')", "all that have failed"),
    )
    exits = (ExitCode.NOT_FOUND, ExitCode.REFUSED)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="+", metavar="ID", help="a task's id")

    def work(self, options: dict[str, Any]) -> ExitCode:
        queued, code = self.each(options["ids"], services.retry)
        self.tell_subscribers()
        for task in queued:
            self.out.print(f"{task.pk} is pending, retry {task.retry_count}", soft_wrap=True)
        return code
