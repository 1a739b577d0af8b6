"""A backup that is made while agents work is the whole truth of one moment, and comes back as it was."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.execution.launcher import SCRATCH
from tasks.execution.supervisor import STDOUT
from tests.chaos.postgres import Cluster, binaries
from tests.support import agent
from tests.support.client import Client
from tests.support.installation import Installation
from tests.support.migrated import install_database
from tests.support.server import Server

AGENT = {"OPENCODE_BIN": str(Path(agent.__file__)), "OPENCODE_KILL_GRACE": "1"}
REFUSED, BAD_INPUT = 6, 2
RUN = "f47ac10b-58cc-4372-a567-0e02b2c3d479"


def said(client: Client, task_id: str) -> list[str]:
    return [entry["message"] for entry in client.logs(task_id) if entry["message"].startswith("line ")]


def installed(directory: Path) -> Installation:
    """With a database, and no server."""
    install_database(directory)
    return Installation(directory, {})


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """With a task, and a run's directory in its spool."""
    directory = tmp_path_factory.mktemp("old") / "var"
    installation = installed(directory)
    run = directory / "runs" / RUN
    run.mkdir(parents=True, mode=0o700)
    (run / "stdout").write_text("said\n")
    (run / "stdout").chmod(0o600)
    (directory / "secret_key").write_text("k" * 50)
    installation.manage("submit", "--id", "kept", "--type", "testing", "Keep this")
    return installation


@pytest.fixture(scope="module")
def backup(old: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backup") / "backup.tar"
    old.manage("backup", str(file))
    return file


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One that refuses what it is given, and stays as it is."""
    installation = installed(tmp_path_factory.mktemp("other") / "var")
    installation.manage("submit", "--id", "old", "--type", "testing", "Was here before")
    return installation


def tasks(data_dir: Path) -> list[str]:
    with closing(sqlite3.connect(data_dir / "db.sqlite3")) as database:
        return [row[0] for row in database.execute("SELECT id FROM tasks_task ORDER BY id")]


@pytest.mark.slow
def test_comes_back_with_every_line_though_agents_were_writing(tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"
    with Server(tmp_path / "one", **AGENT) as server:
        with server.connect() as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
            client.start("done", description=json.dumps({"lines": 300}))
            client.until_status("done", "completed")
            client.start("working", description=json.dumps({"lines": 5000, "pause": 0.05}), max_retries=1)
            client.wait(lambda m: m["type"] == "log_entry" and m["log"]["agent"] == "working")
            (run,) = client.task("working")["runs"]
            (server.data_dir / "runs" / run["id"] / SCRATCH / "library.so").touch()
            Installation(server.data_dir, AGENT).manage("backup", str(file))
        (refused,) = (Installation(server.data_dir, AGENT).run("restore", "--replace", str(file)),)
        assert refused.returncode == REFUSED
        assert "another server" in refused.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert f"runs/{run['id']}/{STDOUT}" in names
    assert not any(SCRATCH in name for name in names)
    there = tmp_path / "two" / "var"
    there.mkdir(mode=0o700, parents=True)
    Installation(there, AGENT).manage("restore", str(file))
    assert stat.S_IMODE((there / "runs").stat().st_mode) == 0o700
    with Server(tmp_path / "two", **AGENT) as server, server.connect() as client:
        client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        assert client.task("done")["status"] == "completed"
        assert said(client, "done") == [f"line {number}" for number in range(300)]
        # Its agent did not come along: the run is lost, what it had said is not, and it is tried again.
        client.wait(lambda m: m.get("task_id") == "working" and m.get("new_status") == "failed")
        first = client.task("working")["runs"][-1]
        assert (first["outcome"], first["failure_reason"]) == ("failed", "lost")
        lines = said(client, "working")
        assert len(lines) >= 1
        assert lines == [f"line {number}" for number in range(len(lines))]


def test_goes_into_a_new_installation(backup: Path, tmp_path: Path) -> None:
    new = Installation(tmp_path / "new", {})
    (tmp_path / "new").mkdir()
    assert "is restored." in new.manage("restore", str(backup))
    assert tasks(tmp_path / "new") == ["kept"]
    run = tmp_path / "new" / "runs" / RUN
    assert (run / "stdout").read_text() == "said\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (run, run / "stdout")] == [0o700, 0o600]
    assert (tmp_path / "new" / "secret_key").read_text() == "k" * 50
    assert not list((tmp_path / "new").glob("before-restore-*"))


def test_replaces_only_if_asked_to_and_keeps_what_was_there(
    backup: Path, other: Installation, tmp_path: Path
) -> None:
    refused = other.run("restore", str(backup))
    assert (refused.returncode, tasks(other.data_dir)) == (REFUSED, ["old"])
    assert "--replace" in refused.stderr
    mine = Installation(tmp_path / "mine", {})
    shutil.copytree(other.data_dir, mine.data_dir)
    told = mine.manage("restore", "--replace", str(backup))
    assert tasks(mine.data_dir) == ["kept"]
    (aside,) = mine.data_dir.glob("before-restore-*")
    assert str(aside) in told.replace("\n", "")
    assert tasks(aside) == ["old"]


def rewritten(backup: Path, **changes: Any) -> Path:
    """The backup with other parts: a name to new bytes, None for one that is left out."""
    target = backup.with_name("changed.tar")
    with tarfile.open(backup) as old, tarfile.open(target, "w") as new:
        for member in old:
            file = old.extractfile(member)
            content = changes.pop(member.name.replace(".", "_"), file.read() if file else b"")
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
        for name, content in changes.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return target


def manifest(backup: Path, **changes: Any) -> bytes:
    with tarfile.open(backup) as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        return json.dumps({**json.load(file), **changes}).encode()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda b: rewritten(b, database=b"no database"), "is damaged"),
        (lambda b: rewritten(b, database=None), "is damaged"),
        (lambda b: rewritten(b, manifest_json=b"[]"), "manifest cannot be read"),
        (lambda b: rewritten(b, manifest_json=manifest(b, format=9)), "has the format 9"),
        (lambda b: rewritten(b, manifest_json=manifest(b, engine="postgresql")), "DATABASE_URL names sqlite"),
        (
            lambda b: rewritten(b, manifest_json=manifest(b, migrations=["tasks.9999_later"])),
            "which is newer than",
        ),
        (lambda b: rewritten(b, **{"../outside": b"x"}), "a part that no backup has: ../outside"),
        (lambda b: rewritten(b, **{"runs/../../outside": b"x"}), "a part that no backup has"),
        (lambda b: cut(b), "cannot be read"),
        (lambda b: b.with_name("missing.tar"), "No such file"),
    ],
)
def test_refuses_what_is_no_whole_backup_and_touches_nothing(
    backup: Path, other: Installation, damage: Any, complaint: str
) -> None:
    def there() -> list[str]:
        return sorted(path.name for path in other.data_dir.iterdir() if path.name != "serve.lock")

    before = there()
    done = other.run("restore", "--replace", str(damage(backup)))
    assert done.returncode in (REFUSED, BAD_INPUT), done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert tasks(other.data_dir) == ["old"]
    assert there() == before
    assert not (other.data_dir / "outside").exists()
    assert not (other.data_dir.parent / "outside").exists()


def cut(backup: Path) -> Path:
    target = backup.with_name("cut.tar")
    target.write_bytes(backup.read_bytes()[:200_000])
    return target


def test_writes_over_nothing_and_says_where_it_cannot_write(
    old: Installation, backup: Path, tmp_path: Path
) -> None:
    file = Path(shutil.copy(backup, tmp_path))
    again = old.run("backup", str(file))
    assert (again.returncode, "--force" in again.stderr) == (REFUSED, True)
    old.manage("backup", "--force", str(file))
    nowhere = old.run("backup", str(tmp_path / "nowhere" / "x.tar"))
    assert nowhere.returncode == BAD_INPUT
    assert len(nowhere.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.postgres
def test_takes_postgresql_along_by_its_own_tools(tmp_path: Path) -> None:
    path = f"{binaries()}:{os.environ['PATH']}"
    with Cluster() as cluster:
        one = Installation(tmp_path / "one", {"DATABASE_URL": cluster.url, "PATH": path})
        (tmp_path / "one").mkdir(mode=0o700)
        one.manage("migrate", "--verbosity", "0")
        one.manage("submit", "--id", "kept", "--type", "testing", "Keep this")
        one.manage("backup", str(tmp_path / "backup.tar"))
        one.manage("submit", "--id", "later", "--type", "testing", "Comes after it")
        assert one.run("restore", str(tmp_path / "backup.tar")).returncode == REFUSED
        one.manage("restore", "--replace", str(tmp_path / "backup.tar"))
        listed = json.loads(one.manage("tasks", "--json"))
        # As before an update that has made tables, and is to be undone.
        for app, before in (("tasks", "0008"), ("monitoring", "0007")):
            one.manage("migrate", app, before, "--verbosity", "0")
        one.manage("backup", str(tmp_path / "older.tar"))
        one.manage("migrate", "--verbosity", "0")
        one.manage("submit", "--id", "later", "--type", "testing", "Comes after it")
        one.manage("restore", "--replace", str(tmp_path / "older.tar"))
        one.manage("submit", "--id", "last", "--type", "testing", "Is counted")
        counted = cluster.query("SELECT sum(number) FROM tasks_taskcount")
        older = json.loads(one.manage("tasks", "--json"))
    assert [task["id"] for task in listed] == ["kept"]
    assert [task["id"] for task in older] == ["last", "kept"]
    assert counted == [(2,)]
