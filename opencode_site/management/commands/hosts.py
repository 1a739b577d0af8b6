"""`manage.py hosts`: the machines that run agents."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from typing import Any

from monitoring.times import utc_text
from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode
from opencode_site.cli.tables import host_state, hosts_table
from tasks.models import Host
from tasks.selectors import agents_in_flight


class Command(command.Command):
    help = """
        Shows the agent hosts: whether they are alive, their slots, which agents were found on them.
        Reads the database: no server is needed.
        """
    usage = "[options]"
    examples = (("hosts", "all of them"), ("hosts --json", "for a script"))

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON array")

    def work(self, options: dict[str, Any]) -> ExitCode:
        hosts = list(Host.objects.all())
        busy = Counter(run.host for run in agents_in_flight())
        if options["json"]:
            self.write_json([_record(host, busy[host.name]) for host in hosts])
        elif hosts:
            self.out.print(hosts_table(hosts, busy))
        else:
            self.out.print("No host has ever reported: start the server with `make serve`.")
        return ExitCode.DONE


def _record(host: Host, busy: int) -> dict[str, Any]:
    return {
        "name": host.name,
        "state": host_state(host),
        "busy": busy,
        "slots": host.slots,
        "pid": host.pid,
        "started_at": utc_text(host.started_at),
        "last_seen_at": utc_text(host.last_seen_at),
        "agents": host.agents,
        "paused_because": host.paused_because,
    }
