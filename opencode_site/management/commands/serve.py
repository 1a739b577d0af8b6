"""`manage.py serve`: runs everything in the foreground, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
from argparse import ArgumentParser
from types import MappingProxyType
from typing import Any

from django.conf import settings

from opencode_site import __version__
from opencode_site.access.reach import tls_context
from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode, Failure
from opencode_site.configuration import AT_FIRST_SERVE
from opencode_site.serve import preflight
from opencode_site.serve.server import Options, Server
from opencode_site.serve.status import StatusFile
from tasks.execution.launcher import agents_found


class Command(command.Command):
    help = """
        Runs the whole server (broker, web, worker) in the foreground until Ctrl-C. Agents that run then go on
        running, and the next start picks them up again. The first start makes the database and an account for
        the admin, whose password it shows once. Settings come from the environment or a file .env.
        """
    usage = "[options]"
    examples = (
        ("serve", "until Ctrl-C; twice to hurry"),
        ("serve --stop-agents --verbose", "end the agents as well, and see all logs as they come"),
    )
    meanings = MappingProxyType(
        {ExitCode.BAD_INPUT: "it cannot serve: a wrong setting, a port or a data directory that is taken"}
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--verbose", action="store_true", help="show what the processes log, as it comes")
        parser.add_argument(
            "--stop-agents", action="store_true", help="at the end stop the agents that run, too"
        )

    def work(self, options: dict[str, Any]) -> ExitCode:
        try:
            self._serve(verbose=options["verbose"], stop_agents=options["stop_agents"])
        except preflight.CannotServe as error:
            raise Failure(str(error), ExitCode.BAD_INPUT) from error
        return ExitCode.DONE

    def _serve(self, *, verbose: bool, stop_agents: bool) -> None:
        with preflight.hold_data_dir(settings.DATA_DIR):
            status = StatusFile(settings.DATA_DIR)
            if left := status.end_leftovers():
                self._say(f"Ended {len(left)} processes that a killed server had left behind.")
            tls_context(settings.TLS_CERT, settings.TLS_KEY)
            with preflight.listen(settings.HOST, settings.PORT, authenticated=settings.AUTH) as listener:
                options = _options(verbose=verbose, stop_agents=stop_agents)
                # Not for the eyes of what is started below.
                os.environ.pop("OPENCODE_ADMIN_PASSWORD", None)
                asyncio.run(_run(options, listener=listener, status=status, say=self._say))

    def _say(self, line: str) -> None:
        # When the terminal is gone nobody reads any more; that must not end the server half way through.
        with contextlib.suppress(OSError):
            self.stdout.write(line)
            self.stdout.flush()


def _options(*, verbose: bool, stop_agents: bool) -> Options:
    read = settings.ENVIRONMENT
    admin = {
        name: read.text(name, default=one.default, about=one.about) for name, one in AT_FIRST_SERVE.items()
    }
    return Options(
        version=__version__,
        data_dir=settings.DATA_DIR,
        logs_dir=settings.LOGS_DIR,
        project_root=settings.BASE_DIR,
        host=settings.HOST,
        port=settings.PORT,
        tls=bool(settings.TLS_CERT),
        hostname=settings.HOSTNAME,
        queues=(settings.HOST_QUEUE, settings.SHARED_QUEUE),
        valkey=(preflight.valkey_server(), settings.VALKEY_SOCKET) if settings.EMBEDDED_BROKER else None,
        admin_name=admin["OPENCODE_ADMIN_USER"],
        admin_password=admin["OPENCODE_ADMIN_PASSWORD"],
        agents_found=agents_found,
        stop_agents=stop_agents,
        verbose=verbose,
    )


async def _run(options: Options, **parts: Any) -> None:
    await Server(options, **parts).run()
