"""A backup's file: a tar with a manifest, the database, the spool of this host's runs, and the signing key.

The database is copied first and the spool after it: so the spool has at least what the database tells of, and
what it has more is read again by whoever follows the run next, or taken away with runs that nobody knows.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from opencode_site import __version__
from opencode_site.keeping import databases
from opencode_site.keeping.databases import CannotKeep
from opencode_site.portable.files import written_beside
from tasks.execution.launcher import SCRATCH

FORMAT = 1
MANIFEST, DATABASE, KEY, RUNS = "manifest.json", "database", "secret_key", "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    format: int
    version: str
    created_at: str
    engine: str
    host: str
    migrations: list[str]
    sha256: str
    """Of the database."""


def write(target: Path, *, overwrite: bool) -> None:
    """Makes a backup while everything goes on. Raises `CannotKeep`, `OSError` and database errors."""
    with (
        written_beside(target, overwrite=overwrite) as part,
        tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as directory,
    ):
        dumped = Path(directory) / DATABASE
        databases.dump(dumped)
        manifest = Manifest(
            format=FORMAT,
            version=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            engine=databases.engine(),
            host=settings.HOSTNAME,
            migrations=sorted(_applied()),
            sha256=_digest(dumped),
        )
        with tarfile.open(part, "w:gz" if target.suffix in (".gz", ".tgz") else "w") as tar:
            _add_bytes(tar, MANIFEST, json.dumps(asdict(manifest), indent=2).encode())
            _add_file(tar, dumped, DATABASE)
            _add_file(tar, settings.DATA_DIR / KEY, KEY)
            for path in sorted(settings.RUNS_DIR.rglob("*")):
                name = path.relative_to(settings.RUNS_DIR)
                if SCRATCH not in name.parts:
                    _add_file(tar, path, f"{RUNS}/{name.as_posix()}")


def restore(source: Path, *, replace: bool) -> tuple[Manifest, Path | None]:
    """Makes a backup what this installation is; returns also where what was there before lies now.

    Nothing may run on the data directory. Nothing is touched before the backup has proved to be whole. Raises
    `CannotKeep`, `OSError` and database errors.
    """
    if databases.exists() and not replace:
        raise CannotKeep("there is a database already; --replace puts the backup in its place")
    with _unpacked(source) as (manifest, directory):
        prefix = f"before-restore-{datetime.now(UTC):%Y%m%d-%H%M%S}-"
        aside = Path(tempfile.mkdtemp(prefix=prefix, dir=settings.DATA_DIR))
        databases.load(directory / DATABASE, aside)
        for name, there in ((KEY, settings.DATA_DIR / KEY), (RUNS, settings.RUNS_DIR)):
            if there.exists():
                there.rename(aside / name)
            if (directory / name).exists():
                (directory / name).rename(there)
    if any(aside.iterdir()):
        return manifest, aside
    aside.rmdir()
    return manifest, None


@contextmanager
def _unpacked(source: Path) -> Iterator[tuple[Manifest, Path]]:
    """A backup in a directory of its own beside what it will become, checked."""
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.DATA_DIR) as name:
        directory = Path(name)
        try:
            with tarfile.open(source, "r:*") as tar:
                first = tar.next()
                if first is None or first.name != MANIFEST:
                    raise CannotKeep(
                        f"{source} is no backup of this server: it does not begin with {MANIFEST}"
                    )
                manifest = _manifest(tar.extractfile(first).read())  # type: ignore[union-attr] # a file
                for member in tar:
                    if member is first:
                        continue
                    if not _belongs(member):
                        raise CannotKeep(f"{source} has a part that no backup has: {member.name}")
                    tar.extract(member, directory, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CannotKeep(f"{source} cannot be read: {error}") from error
        # Only files are in the tar; agents' output is for nobody else.
        for path in directory.rglob("*/"):
            path.chmod(0o700)
        _check(manifest, directory / DATABASE)
        yield manifest, directory


def _belongs(member: tarfile.TarInfo) -> bool:
    parts = PurePosixPath(member.name).parts
    if ".." in parts or not (member.isfile() or member.isdir()):
        return False
    return member.name in (DATABASE, KEY) or parts[:1] == (RUNS,)


def _manifest(content: bytes) -> Manifest:
    try:
        known: dict[str, Any] = json.loads(content)
        if known.get("format") != FORMAT:
            raise CannotKeep(f"the backup has the format {known.get('format')}; this version reads {FORMAT}")
        return Manifest(**known)
    except (ValueError, TypeError, AttributeError) as error:
        raise CannotKeep(f"the backup's manifest cannot be read: {error}") from error


def _check(manifest: Manifest, dumped: Path) -> None:
    if manifest.engine != databases.engine():
        raise CannotKeep(
            f"the backup is one of {manifest.engine}, and DATABASE_URL names {databases.engine()}; "
            "take tasks from one to the other by export_tasks and import_tasks"
        )
    if not dumped.exists() or _digest(dumped) != manifest.sha256 or databases.problem_of(dumped):
        raise CannotKeep("the backup is damaged: its database is not what was written; take another one")
    if unknown := set(manifest.migrations) - _known():
        raise CannotKeep(
            f"the backup was made by version {manifest.version}, which is newer than {__version__}: "
            f"it has {len(unknown)} migrations that this one does not know; update first"
        )


def _applied() -> set[str]:
    return {".".join(key) for key in MigrationRecorder(connection).applied_migrations()}


def _known() -> set[str]:
    return {".".join(key) for key in MigrationLoader(None).disk_migrations}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, BytesIO(content))


def _add_file(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """A file as long as it is now: an agent may write on. What has gone meanwhile is left out."""
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            member = tar.gettarinfo(arcname=name, fileobj=file)
            tar.addfile(member, file)
    except FileNotFoundError:
        return
