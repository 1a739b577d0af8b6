"""The database as a file, and a file as the database: SQLite by its own copy, PostgreSQL by its own tools."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from django.db import connection, transaction


class CannotKeep(Exception):
    """A backup cannot be made or restored; the message says why and what to do."""


def engine() -> str:
    """`sqlite` or `postgresql`."""
    return connection.vendor


def dump(target: Path) -> None:
    """Writes the database as it is at one moment, whoever works with it meanwhile. Raises `CannotKeep`."""
    if engine() == "sqlite":
        source = Path(connection.settings_dict["NAME"])
        if not source.exists():
            raise CannotKeep(f"there is no database at {source}; see OPENCODE_DATA_DIR")
        with closing(_open(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    else:
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={target}")


def problem_of(dumped: Path) -> str:
    """What is wrong with a dump; empty when it is whole."""
    if engine() == "sqlite":
        try:
            with closing(_open(dumped)) as database:
                ((found,),) = database.execute("PRAGMA integrity_check(1)").fetchall()
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if found == "ok" else str(found)
    return ""


def exists() -> bool:
    """Whether there is a database that a restore would replace."""
    if engine() == "sqlite":
        path = Path(connection.settings_dict["NAME"])
        # The settings make an empty file, so that it is private from the beginning.
        return path.exists() and path.stat().st_size > 0
    return "tasks_task" in connection.introspection.table_names()


def load(dumped: Path, aside: Path) -> None:
    """Makes the dump the database. What was there goes `aside`; PostgreSQL drops it. Raises `CannotKeep`."""
    if engine() == "sqlite":
        connection.close()
        name = Path(connection.settings_dict["NAME"])
        for old in (name, *(Path(f"{name}{suffix}") for suffix in ("-wal", "-shm"))):
            if old.exists() and old.stat().st_size:
                old.rename(aside / old.name)
        dumped.chmod(0o600)
        dumped.rename(name)
        return
    wanted = ("--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error")
    _run("pg_restore", *wanted, str(dumped))
    _drop_tables_beside(dumped)
    connection.close()


def _drop_tables_beside(dumped: Path) -> None:
    """Drops what a newer version of ours has made and an older dump lacks: `migrate` makes it anew."""
    listed = _run("pg_restore", "--list", str(dumped), connects=False).splitlines()
    # A line of the list: `215; 1259 16434 TABLE public tasks_task postgres`.
    restored = {entry[5] for entry in map(str.split, listed) if entry[3:4] == ["TABLE"]}
    ours = connection.introspection.django_table_names(only_existing=True, include_views=False)
    with transaction.atomic(), connection.cursor() as cursor:
        for table in set(ours) - restored:
            cursor.execute(f"DROP TABLE {connection.ops.quote_name(table)} CASCADE")


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


def _run(program: str, *arguments: str, connects: bool = True) -> str:
    # As `manage.py dbshell` calls psql: what is secret goes by the environment, which nobody else may read.
    parts, secrets = connection.client.settings_to_cmd_args_env(
        connection.settings_dict, [*arguments, "--dbname"]
    )
    command = [program, *(parts[1:] if connects else arguments)]
    environment = {**os.environ, **(secrets or {})}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CannotKeep(
            f"{program} was not found: install PostgreSQL's client programs, of the server's version or newer"
        ) from error
    if done.returncode != 0:
        raise CannotKeep(f"{program} failed: {' '.join(done.stderr.split())[-500:]}")
    return done.stdout
