"""`manage.py asyncapi`: the protocol, machine-readable."""

from __future__ import annotations

from typing import Any

from opencode_site.asyncapi import document
from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode


class Command(command.Command):
    help = """
        Prints the protocol of the WebSocket as an AsyncAPI 3 document, as the server has it at
        /asyncapi.json. Neither server nor database is needed.
        """
    examples = (("asyncapi > asyncapi.json", "for generators and for editors"),)

    def work(self, options: dict[str, Any]) -> ExitCode:
        self.write_json(document())
        return ExitCode.DONE
