"""`manage.py backup`: everything in one file, while the server runs."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode, Failure, require_tables
from opencode_site.cli.terminal import line
from opencode_site.keeping import archive
from opencode_site.keeping.databases import CannotKeep


class Command(command.Command):
    help = """
        Writes the database, the spool of this host's runs and the signing key to one file (mode 0600), as
        they are at one moment; the server and its agents go on meanwhile. PostgreSQL is read by its own
        pg_dump. The agents' working directories are no part of it.
        """
    usage = "[options] FILE"
    examples = (
        ("backup ~/backups/agents.tar.gz", "compressed, by its name"),
        ('backup "/backups/agents-$(date +%F).tar"', "one for each day"),
    )
    exits = (ExitCode.REFUSED,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="where to; .gz and .tgz are compressed")
        parser.add_argument("--force", action="store_true", help="replace the file if it exists")

    def work(self, options: dict[str, Any]) -> ExitCode:
        file: Path = options["file"].expanduser().absolute()
        require_tables()
        try:
            archive.write(file, overwrite=options["force"])
        except FileExistsError as error:
            raise Failure(str(error), ExitCode.REFUSED) from error
        except OSError as error:
            raise Failure(f"cannot write {file}: {error.strerror or error}", ExitCode.BAD_INPUT) from error
        except CannotKeep as problem:
            raise Failure(str(problem), ExitCode.DATABASE) from problem
        self.out.print(line(f"{decimal(file.stat().st_size)} written to {file}"), soft_wrap=True)
        return ExitCode.DONE
