"""`manage.py restore`: an installation as a backup has it."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode, Failure
from opencode_site.cli.terminal import line
from opencode_site.keeping import archive, databases
from opencode_site.keeping.databases import CannotKeep
from opencode_site.serve.database import migrate
from opencode_site.serve.preflight import CannotServe, hold_data_dir
from tasks.queue import hosts_alive


class Command(command.Command):
    help = """
        Puts a backup in the place of this installation's database, spool and signing key, and brings its
        tables up to date. The server must not run. Nothing is touched before the backup has proved to be
        whole; what was there is moved aside in the data directory (a PostgreSQL database is overwritten).
        Runs that were in flight then end as lost, or with what their spool tells, at the next start.
        """
    usage = "[options] FILE"
    examples = (
        ("restore ~/backups/agents.tar.gz", "into a new installation"),
        ("restore --replace ~/backups/agents.tar.gz", "in the place of what is there"),
    )
    exits = (ExitCode.REFUSED,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="what `backup` has written")
        parser.add_argument("--replace", action="store_true", help="also where there is a database already")

    def work(self, options: dict[str, Any]) -> ExitCode:
        try:
            with hold_data_dir(settings.DATA_DIR):
                self._refuse_beside_workers()
                manifest, aside = archive.restore(options["file"].expanduser(), replace=options["replace"])
                migrate()
        except (CannotServe, CannotKeep) as problem:
            raise Failure(str(problem), ExitCode.REFUSED) from problem
        except OSError as error:
            raise Failure(f"cannot restore: {error}", ExitCode.BAD_INPUT) from error
        told = f"The backup of {manifest.created_at} is restored."
        if aside is not None:
            told += f" What was there before is in {aside}."
        self.out.print(line(told), soft_wrap=True)
        return ExitCode.DONE

    def _refuse_beside_workers(self) -> None:
        """Other hosts may work with the same database, where it is not a file."""
        if databases.engine() == "sqlite":
            return
        try:
            alive = [host.name for host in hosts_alive()]
        except DatabaseError:
            return  # there are no tables yet
        if alive:
            raise CannotKeep(
                f"workers have reported within 30 s: {', '.join(alive)}; stop every server, then try again"
            )
