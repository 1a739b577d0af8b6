"""`manage.py cancel`: cancels tasks."""

from __future__ import annotations

from argparse import ArgumentParser
from types import MappingProxyType
from typing import Any

from opencode_site.cli import command
from opencode_site.cli.exits import OUTCOMES, ExitCode
from opencode_site.cli.following import Follower
from tasks import services
from tasks.models import Status
from tasks.selectors import get_task


class Command(command.Command):
    help = """
        Cancels pending or running tasks. A running one is cancelled when its agent and all that it has
        started are gone, which its host sees to; --wait waits for that.
        """
    usage = "[options] ID..."
    examples = (
        ("cancel plan-1 review-1", "two of them"),
        ("cancel --wait plan-1", "and wait until the agent is gone"),
    )
    exits = (ExitCode.FAILED, ExitCode.NOT_FOUND, ExitCode.REFUSED)
    meanings = MappingProxyType({ExitCode.FAILED: "a task had come to its end before it could be cancelled"})

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="+", metavar="ID", help="a task's id")
        parser.add_argument("--wait", action="store_true", help="wait until no process of the tasks is left")

    def work(self, options: dict[str, Any]) -> ExitCode:
        asked, code = self.each(options["ids"], services.cancel)
        self.tell_subscribers()
        running = [task.pk for task in asked if task.status == Status.RUNNING]
        if running and options["wait"]:
            for _ in Follower(running).looks():
                pass
        for task in asked:
            current = get_task(task.pk)
            word = "being cancelled" if current.status == Status.RUNNING else current.status
            self.out.print(f"{task.pk} is {word}", soft_wrap=True)
            if current.status in (Status.COMPLETED, Status.FAILED):
                # The run was quicker than its cancellation.
                code = code or (OUTCOMES[Status.FAILED])
        return code
