"""`manage.py processes`: what runs on this host."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from opencode_site.cli.options import at_least
from opencode_site.cli.tables import processes_table
from opencode_site.ws.schemas.processes import process_record
from tasks import inventory


class Command(command.Command):
    help = """
        Shows the agents on this host and the tasks that they work for; with --all every process, agents
        first, then by CPU (of one core, since the process started). Reads host and database: no server
        is needed.
        """
    usage = "[options]"
    examples = (("processes", "the agents"), ("processes --all --limit 20", "the busiest processes"))

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="not only agents")
        parser.add_argument("--limit", default="100", metavar="N", help="processes to show; 100 by default")
        parser.add_argument(
            "--json", action="store_true", help="a JSON array, as in the protocol's process_list"
        )

    def work(self, options: dict[str, Any]) -> ExitCode:
        limit = at_least(options["limit"], 1, name="limit")
        seen = inventory.look()
        agents = {sighting.info.pid for sighting in seen.agents}
        found = seen.processes if options["all"] else [info for info in seen.processes if info.pid in agents]
        found = sorted(found, key=lambda info: (info.pid not in agents, -info.cpu_percent, info.pid))[:limit]
        if options["json"]:
            self.write_json([process_record(info, seen).model_dump(mode="json") for info in found])
        elif found:
            self.out.print(processes_table(found, seen))
        else:
            self.out.print("No agent runs on this host.")
        return ExitCode.DONE
