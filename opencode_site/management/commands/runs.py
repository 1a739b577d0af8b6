"""`manage.py runs`: the attempts at tasks."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from opencode_site.cli.options import at_least
from opencode_site.cli.tables import runs_table
from opencode_site.cli.terminal import line
from opencode_site.ws.schemas.tasks import run_record
from tasks.selectors import latest_runs


class Command(command.Command):
    help = """
        Shows the runs (attempts) of a task, or the latest of all, newest first: outcome, tokens, cost,
        reason. Reads the database: no server is needed.
        """
    usage = "[options] [ID]"
    examples = (
        ("runs", "the latest 20"),
        ("runs plan-1", "those of one task, with what went wrong"),
        ("runs --json --limit 1000 | jq 'map(.cost) | add'", "what they have cost"),
    )
    exits = (ExitCode.NOT_FOUND,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", nargs="?", metavar="ID", help="a task's id; by default the runs of all")
        parser.add_argument("--limit", default="20", metavar="N", help="runs to show; 20 by default")
        parser.add_argument(
            "--json", action="store_true", help="a JSON array, as in the protocol's task_status"
        )

    def work(self, options: dict[str, Any]) -> ExitCode:
        runs = latest_runs(options["id"], limit=at_least(options["limit"], 1, name="limit"))
        if options["json"]:
            self.write_json(
                [{"task_id": run.task_id, **run_record(run).model_dump(mode="json")} for run in runs]
            )
        elif not runs:
            self.out.print("No run yet.")
        else:
            self.out.print(runs_table(runs))
            for run in runs if options["id"] else ():
                if run.failure_detail:
                    self.out.print(line(f"Run {run.number}: {run.failure_detail}"), soft_wrap=True)
        return ExitCode.DONE
