"""Tasks go from one installation to another as they are, once, and the original system's come along."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from tasks import services
from tasks.models import FINISHED, Status, Task, Transition
from tasks.services import NewTask, Past
from tests.support.installation import Installation

THEN = datetime(2025, 9, 26, 10, 45, tzinfo=UTC)
LATER = datetime(2025, 9, 26, 10, 50, tzinfo=UTC)
ORIGINAL_TASKS = {
    "created_at": "2025-09-26T09:38:13.394232",
    "total_tasks": 2,
    "tasks": [
        {
            "id": "unit_1",
            "type": "testing",
            "priority": "high",
            "description": "Tests",
            "files_pattern": "**/*",
        },
        {"id": "impl_1", "type": "Code Review", "priority": "critical", "description": "Feature"},
    ],
}
ORIGINAL_STATUS = {
    "updated_at": "2025-09-26T10:51:19.991303",
    "running_tasks": [
        {"id": "left_1", "type": "testing", "priority": "high", "description": "Was cancelled",
         "status": "cancelled", "progress": 85, "created_at": "2025-09-26T10:45:29",
         "started_at": "2025-09-26T10:45:30", "completed_at": "2025-09-26T10:51:18", "error": None,
         "retry_count": 0, "max_retries": 3, "estimated_duration": 300},
        {"id": "live_1", "type": "testing", "description": "Runs", "status": "running"},
    ],
    "queued_tasks": [{"id": "queue_1", "type": "testing", "description": "Waits", "status": "queued"}],
    "completed_tasks": [
        {"id": "impl_1", "type": "Code Review", "priority": "critical", "description": "Feature",
         "status": "completed", "progress": 100, "created_at": "2025-09-26T10:45:29",
         "completed_at": "2025-09-26T10:50:07"},
    ],
}  # fmt: skip

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(tmp_path: Path, settings: Any) -> Path:
    directory = tmp_path / "project"
    (directory / "part").mkdir(parents=True)
    settings.PROJECT_DIR, settings.ALLOWED_ROOTS = directory, [directory]
    return directory


def new(task_id: str, **values: Any) -> NewTask:
    return NewTask(id=task_id, type="testing", description=f"do {task_id}", **values)


def past(status: Status, **values: Any) -> Past:
    return Past(status=status, created_at=THEN, completed_at=LATER, **values)


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def history(task_id: str) -> list[tuple[str, str]]:
    return list(Transition.objects.filter(task=task_id).values_list("old_status", "new_status"))


def imported(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        call_command("import_tasks", *arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def several() -> None:
    services.submit(new("a", working_dir="part", timeout_ms=5000, max_retries=2, files_pattern="*.py"))
    services.record_finished(new("b", dependencies=("a",)), past(Status.COMPLETED, started_at=THEN))
    services.record_finished(
        new("c"), past(Status.FAILED, failure_reason="timeout", error="too slow", retry_count=2, progress=40)
    )
    services.submit(new("d", dependencies=("b", "a")))


def snapshot() -> list[Any]:
    names = [field.name for field in Task._meta.concrete_fields if field.name != "created_at"]
    rows = Task.objects.order_by("pk").values(*names, "needs__needs_id")
    return [{**row, "started_at": None} if row["status"] == "pending" else row for row in rows]


@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_takes_tasks_over_as_they_are_and_once(
    kind: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several()
    before, file = snapshot(), tmp_path / "tasks"
    call_command("export_tasks", str(file), "--format", kind)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "part" in file.read_text()
    assert str(project) not in file.read_text()
    for name in ("d", "b", "a", "c"):
        Task.objects.get(pk=name).needs.all().delete()
    Task.objects.all().delete()
    capsys.readouterr()
    assert imported(capsys, str(file))[:2] == (0, "4 imported, 0 here already, 0 skipped, 0 refused\n")
    assert snapshot() == before
    assert imported(capsys, str(file))[:2] == (0, "0 imported, 4 here already, 0 skipped, 0 refused\n")
    assert history("b") == [("", "pending"), ("pending", "running"), ("running", "completed")]
    assert [t.at for t in Transition.objects.filter(task="b")] == [THEN, THEN, LATER]


def test_exports_only_the_statuses_that_are_asked_for(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several()
    call_command("export_tasks", "--status", "failed", "--status", "completed")
    head, *lines = capsys.readouterr().out.splitlines()
    assert json.loads(head)["version"] == 1
    assert [json.loads(line)["id"] for line in lines] == ["b", "c"]


def test_does_not_replace_a_file_unasked(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kept"
    file.write_text("mine")
    with pytest.raises(SystemExit) as end:
        call_command("export_tasks", str(file))
    assert (end.value.code, "--force" in capsys.readouterr().err) == (6, True)
    assert file.read_text() == "mine"
    call_command("export_tasks", str(file), "--force")
    assert file.read_text().startswith('{"format"')
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["kept"]


def test_says_what_it_refuses_and_why(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    services.submit(new("there"))
    good = {"id": "good", "type": "t", "priority": "low", "description": "x"}
    file = write(
        tmp_path / "f",
        {"format": "opencode-tasks", "version": 1, "tasks": [
            good,
            "no task",
            {**good, "id": "no/id"},
            {**good, "id": "urgent", "priority": "urgent"},
            {**good, "id": "orphan", "dependencies": ["nobody"]},
            {**good, "id": "x", "dependencies": ["y"]},
            {**good, "id": "y", "dependencies": ["x"]},
            {**good, "id": "outside", "working_dir": "/"},
            {**good, "id": "there"},
            {**good, "id": "done", "status": "completed"},
            {**good, "id": "runs", "status": "running"},
            good,
        ]},
    )  # fmt: skip
    code, out, err = imported(capsys, file, "--all-or-nothing")
    assert (code, Task.objects.count()) == (6, 1)
    code, out, err = imported(capsys, file)
    assert (code, out) == (6, "1 imported, 0 here already, 1 skipped, 10 refused\n")
    for said in (
        "refused: (no id): expected an object, got str",
        "refused: no/id: id: 1 to 128 letters",
        "refused: urgent: priority: ",
        "refused: orphan: Task with ID 'nobody' not found",
        "its dependencies go in a circle",
        "outside the directories that tasks may work in",
        "refused: there: a task with this id exists here with another description",
        "refused: done: a task that is completed needs created_at and completed_at",
        "refused: good: the file holds this id twice",
        "skipped: runs: it was running",
    ):
        assert said in err
    assert set(Task.objects.values_list("pk", flat=True)) == {"there", "good"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no file of tasks"),
        ("[]", "is no file of tasks"),
        ('{"a": 1}\nhello', "line 2: not JSON"),
        ('{"format": "opencode-tasks", "version": 2}', "version 2"),
        ('{"format": "other"}', "'other'"),
        ('{"format": "opencode-tasks", "version": 1, "tasks": 3}', "expected a list"),
    ],
)
def test_refuses_a_file_that_is_none(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f"
    file.write_text(content)
    code, _, err = imported(capsys, str(file))
    assert code == 2
    assert said in err
    assert imported(capsys, str(tmp_path / "nowhere"))[0] == 2


def test_only_says_what_it_would_do(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "tasks.json", ORIGINAL_TASKS)
    code, out, _ = imported(capsys, file, "--dry-run")
    assert (code, out) == (0, "2 would be imported, 0 here already, 0 skipped, 0 refused\n")
    assert not Task.objects.exists()


def test_reads_the_original_system(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "tasks.json", ORIGINAL_TASKS)
    write(tmp_path / "task_status.json", ORIGINAL_STATUS)
    code, out, err = imported(capsys, str(tmp_path))
    assert (code, out) == (0, "4 imported, 0 here already, 1 skipped, 0 refused\n"), err
    statuses = dict(Task.objects.values_list("pk", "status"))
    assert statuses == {
        "unit_1": "pending", "impl_1": "completed", "left_1": "cancelled", "queue_1": "pending",
    }  # fmt: skip
    done, left = Task.objects.get(pk="impl_1"), Task.objects.get(pk="left_1")
    assert (done.type, done.get_priority_display()) == ("code-review", "high")
    assert done.completed_at == datetime(2025, 9, 26, 10, 50, 7).astimezone()
    assert (left.progress, left.max_retries) == (85, 3)
    assert "live_1" in err
    assert imported(capsys, str(tmp_path), "--requeue-running")[1].startswith("1 imported, 4 here already")


@pytest.mark.parametrize("status", FINISHED)
def test_never_lets_a_finished_task_run(status: Status, project: Path) -> None:
    task = services.record_finished(new("past"), past(status))
    assert (task.status, task.completed_at) == (status, LATER)
    assert not task.runs.exists()
    assert services.claim("anybody", 4) == []


def test_is_the_first_thing_that_a_new_installation_may_see(tmp_path: Path) -> None:
    fresh = Installation(tmp_path / "var", {})
    empty = fresh.run("export_tasks")
    assert (empty.returncode, empty.stderr.count("\n")) == (5, 1)
    assert "manage.py migrate" in empty.stderr
    file = write(tmp_path / "tasks.json", ORIGINAL_TASKS)
    assert fresh.manage("import_tasks", file).startswith("2 imported")
    assert len(fresh.manage("export_tasks").splitlines()) == 3


def test_ends_quietly_when_its_reader_has_gone(tmp_path: Path) -> None:
    Installation(tmp_path / "var", {}).manage("migrate", "-v0")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            [sys.executable, "manage.py", "export_tasks"],
            stdout=out,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENCODE_DATA_DIR": str(tmp_path / "var")},
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")
