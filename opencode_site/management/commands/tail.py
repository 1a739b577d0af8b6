"""`manage.py tail`: the log of tasks, live."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from monitoring.events import LogRecord
from monitoring.models import Level
from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from opencode_site.cli.following import Follower
from opencode_site.cli.lines import log_line
from opencode_site.cli.options import at_least
from opencode_site.ws.errors import InvalidValue, quoted
from tasks.selectors import get_task


class Command(command.Command):
    help = """
        Shows the newest lines of the log of one or many tasks, and then each line as it comes, until all the
        tasks have ended. Reads the database: no server is needed.
        """
    usage = "[options] ID..."
    examples = (
        ("tail plan-1", "the last 20 lines, and what comes"),
        ("tail --lines 1000 --no-follow plan-1 | less", "what there is, and no more"),
        ("tail --level warn plan-1 review-1", "the warnings and errors of two tasks"),
    )
    exits = (ExitCode.NOT_FOUND,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="+", metavar="ID", help="a task's id")
        parser.add_argument("--level", default="debug", help="least level: debug (all), info, warn or error")
        parser.add_argument(
            "--lines", default="20", metavar="N", help="older lines to show first; 20 by default"
        )
        parser.add_argument("--no-follow", action="store_true", help="show what there is and end")

    def work(self, options: dict[str, Any]) -> ExitCode:
        lines = at_least(options["lines"], 0, name="lines")
        level = _level(options["level"])
        ids = list(dict.fromkeys(options["ids"]))
        for task_id in ids:
            get_task(task_id)
        self._width = max(map(len, ids)) if len(ids) > 1 else 0
        follower = Follower(ids, level=level)
        for entry in follower.last_lines(lines):
            self._show(entry)
        self.out.file.flush()
        if not options["no_follow"]:
            for look in follower.looks():
                for update in look.updates:
                    if isinstance(update, LogRecord):
                        self._show(update)
                self.out.file.flush()
        return ExitCode.DONE

    def _show(self, entry: LogRecord) -> None:
        self.out.print(log_line(entry, id_width=self._width), soft_wrap=True)


def _level(name: str) -> Level:
    if name not in Level.values:
        raise InvalidValue(
            f"Invalid level value: {quoted(name)}. Valid values are: {', '.join(Level.values)}",
            field="level",
            value=name,
            expected=Level.values,
        )
    return Level(name)
