"""The admin over HTTP, against a real database: what is shown, done and refused, and how fast."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule

from monitoring.models import LogEntry
from processes.models import Kill
from tasks import services
from tasks.agents.base import Exit, Verdict
from tasks.errors import TaskNotFound
from tasks.failures import FailureReason
from tasks.models import (
    FILES_PATTERN_RULE,
    TASK_ID_RULE,
    TASK_TYPE_RULE,
    Host,
    Overlap,
    Priority,
    Run,
    Schedule,
    Status,
    StopReason,
    Task,
)
from tasks.selectors import dependency_ids, get_task, run_summaries
from tests.tasks.admin.conftest import form, sampled, seen_agent

Submit = Callable[..., Task]
Claimed = Callable[..., Run]
TASKS = "/admin/tasks/task/"


def fail(run: Run) -> None:
    verdict = Verdict(succeeded=False, reason=FailureReason.AUTH, detail="no key")
    end = Exit(code=1, signal=None, stopped_by=None)
    services.finish(run, verdict, end, peak_memory=1, cpu_seconds=0.5)


def said(client: Client, url: str, data: dict[str, Any]) -> str:
    return client.post(url, data, follow=True).content.decode()


def test_proposes_an_id_and_stores_what_the_form_says(boss: Client) -> None:
    assert re.search(r'value="task-[0-9a-f]{8}"', boss.get(f"{TASKS}add/").content.decode())
    boss.post(f"{TASKS}add/", form("first"))
    boss.post(f"{TASKS}add/", form("second_1f", priority="2", minutes="1.5", waits_for=["first"]))
    task = get_task("second_1f")
    assert (task.status, task.priority, task.timeout_ms) == ("pending", Priority.HIGH, 90_000)
    assert dependency_ids(task) == ["first"]
    assert task.transitions.count() == 1
    assert HistoryEntry.objects.filter(object_id="second_1f", action_flag=1, user__username="boss").exists()


def test_shows_the_lifecycles_refusal_at_its_field_and_keeps_what_was_typed(boss: Client) -> None:
    page = boss.post(f"{TASKS}add/", form("a", working_dir="/etc", description="typed by hand"))
    text = page.content.decode()
    assert "is outside the directories that tasks may work in" in text
    assert "typed by hand" in text
    assert not Task.objects.exists()


def test_refuses_an_id_twice(boss: Client, submit: Submit) -> None:
    submit("a")
    assert "already exists" in boss.post(f"{TASKS}add/", form("a")).content.decode()
    assert Task.objects.count() == 1


def test_edits_while_pending_and_refuses_a_circle(boss: Client, submit: Submit) -> None:
    submit("a")
    submit("b", "a")
    page = boss.post(f"{TASKS}a/change/", form("a", waits_for=["b"]))
    assert "would wait for itself" in page.content.decode()
    boss.post(f"{TASKS}a/change/", form("a", description="new words"))
    assert get_task("a").description == "new words"
    assert HistoryEntry.objects.filter(object_id="a", action_flag=2).count() == 1


def test_offers_nothing_that_would_make_a_circle(boss: Client, submit: Submit) -> None:
    submit("a_1")
    submit("b", "a_1")
    submit("c", "b")
    submit("free")
    asked = {"app_label": "tasks", "model_name": "task", "field_name": "dependencies"}

    def offered(page: str) -> set[str]:
        found = boss.get("/admin/autocomplete/", asked, HTTP_REFERER=f"http://testserver{page}").json()
        return {one["id"] for one in found["results"]}

    assert offered(f"{TASKS}add/") == {"a_1", "b", "c", "free"}
    assert offered(f"{TASKS}{quote('a_1')}/change/") == {"free"}
    assert offered(f"{TASKS}b/change/") == {"a_1", "free"}
    assert offered(f"{TASKS}c/change/?_changelist_filters=x") == {"a_1", "b", "free"}


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("files_pattern", "/etc/*", FILES_PATTERN_RULE),
        ("files_pattern", "../../*", FILES_PATTERN_RULE),
        ("type", "Not A Slug", TASK_TYPE_RULE),
        ("id", "--help", TASK_ID_RULE),
    ],
)
def test_refuses_what_the_protocol_refuses(boss: Client, field: str, value: str, rule: str) -> None:
    page = boss.post(f"{TASKS}add/", {**form("a"), field: value}).content.decode()
    assert f"Expected {rule}." in page
    assert not Task.objects.exists()


def test_does_not_edit_what_runs(boss: Client, claimed: Claimed) -> None:
    claimed("a")
    page = said(boss, f"{TASKS}a/change/", form("a", description="new words"))
    assert "is running by now and cannot be edited: nothing was changed" in page
    assert get_task("a").description == "Run the tests"


def test_a_schedules_time_limit_is_given_in_minutes(boss: Client) -> None:
    every = IntervalSchedule.objects.create(every=1, period="hours")
    values = form("", name="hourly", interval=every.pk, overlap=Overlap.SKIP, minutes="1.5")
    none = {"turns-TOTAL_FORMS": 0, "turns-INITIAL_FORMS": 0}
    boss.post("/admin/tasks/schedule/add/", values | none)
    schedule = Schedule.objects.get()
    assert schedule.timeout_ms == 90_000
    page = boss.get(f"/admin/tasks/schedule/{schedule.pk}/change/").content.decode()
    assert re.search(r'name="minutes" value="1\.5"', page)
    boss.post(f"/admin/tasks/schedule/{schedule.pk}/change/", values | none | {"minutes": ""})
    assert Schedule.objects.get().timeout_ms is None


@pytest.mark.parametrize("task_id", ["plain", "under_5Fscore", "dots.and:colons"])
def test_cancels_retries_and_duplicates_after_asking(boss: Client, submit: Submit, task_id: str) -> None:
    submit(task_id)
    page = boss.get(f"{TASKS}?q={task_id}").content.decode()
    base = f"{TASKS}{quote(task_id)}/"
    assert f"{base}change/" in page
    assert boss.get(f"{base}cancel/").status_code == 200
    assert get_task(task_id).status == Status.PENDING
    boss.post(f"{base}cancel/")
    assert get_task(task_id).status == Status.CANCELLED
    assert "is cancelled and cannot be cancelled" in said(boss, f"{base}cancel/", {}).replace("&#x27;", "'")
    boss.post(f"{base}retry/")
    assert get_task(task_id).retry_count == 1
    boss.post(f"{base}duplicate/")
    assert Task.objects.exclude(pk=task_id).get().description == get_task(task_id).description


def test_cancelling_a_running_task_asks_its_host_as_the_protocol_does(boss: Client, claimed: Claimed) -> None:
    run = claimed("a")
    boss.post(f"{TASKS}a/cancel/")
    run.refresh_from_db()
    assert run.stop_reason == StopReason.CANCELLED
    assert HistoryEntry.objects.filter(object_id="a", change_message__contains="Cancelled").exists()


def test_only_those_allowed_stop_agents(
    staff: Callable[..., Client], claimed: Claimed, submit: Submit
) -> None:
    run = claimed("a")
    submit("b")
    client = staff("view_task", "change_task")
    assert "may not stop agents" in said(client, TASKS, {"action": "cancel", "_selected_action": ["a", "b"]})
    run.refresh_from_db()
    assert (run.stop_reason, get_task("b").status) == ("", Status.CANCELLED)
    staff("view_task", "change_task", "stop_run").post(f"{TASKS}a/cancel/")
    run.refresh_from_db()
    assert run.stop_reason == StopReason.CANCELLED


def test_those_who_may_only_view_see_every_page_and_do_no_deed(
    staff: Callable[..., Client], claimed: Claimed
) -> None:
    run = claimed("a")
    seen = seen_agent()
    client = staff("view_task", "view_run", "view_logentry", "view_seenagent", "view_kill")
    for url in (
        "/admin/",
        TASKS,
        f"{TASKS}a/change/",
        "/admin/tasks/run/",
        f"/admin/tasks/run/{run.pk}/change/",
        f"/admin/tasks/run/{run.pk}/log.json",
        "/admin/monitoring/logentry/",
        "/admin/processes/seenagent/",
        "/admin/processes/kill/",
    ):
        assert client.get(url).status_code == 200, url
    for url in (
        f"{TASKS}add/",
        f"{TASKS}a/change/",
        f"{TASKS}a/cancel/",
        f"{TASKS}a/retry/",
        f"{TASKS}a/duplicate/",
        f"{TASKS}a/delete/",
        f"/admin/processes/seenagent/{seen.pk}/end/",
    ):
        assert client.post(url, form("a")).status_code == 403, url
    client.post(TASKS, {"action": "cancel", "_selected_action": ["a"]})
    run.refresh_from_db()
    assert (run.stop_reason, Task.objects.count()) == ("", 1)


def test_a_run_is_not_read_without_permission(staff: Callable[..., Client], claimed: Claimed) -> None:
    run = claimed("a")
    client = staff("view_task")
    page = client.get(f"{TASKS}a/change/").content.decode()
    assert "#1" in page
    assert f"/admin/tasks/run/{run.pk}/" not in page
    assert client.get(f"/admin/tasks/run/{run.pk}/log.json").status_code == 403
    assert client.get(f"/admin/tasks/run/{run.pk}/log.txt").status_code == 403


def test_many_are_moved_and_started_again_and_each_refusal_is_told(
    boss: Client, submit: Submit, claimed: Claimed
) -> None:
    fail(claimed("failed"))
    submit("waits")
    both = ["failed", "waits"]
    text = said(boss, TASKS, {"action": "high", "_selected_action": both}).replace("&#x27;", "'")
    assert "'failed' is failed and its priority cannot be changed" in text
    assert get_task("waits").priority == Priority.HIGH
    text = said(boss, TASKS, {"action": "retry", "_selected_action": both}).replace("&#x27;", "'")
    assert "'waits' is pending and cannot be retried" in text
    assert get_task("failed").status == Status.PENDING


def test_deletes_with_logs_and_says_why_not(boss: Client, claimed: Claimed, submit: Submit) -> None:
    run = claimed("a")
    assert "is running and cannot be deleted" in boss.get(f"{TASKS}a/delete/").content.decode()
    boss.post(f"{TASKS}a/delete/", {"post": "yes"})
    assert get_task("a").pk == "a"
    fail(run)
    boss.post(f"{TASKS}a/delete/", {"post": "yes"})
    with pytest.raises(TaskNotFound):
        get_task("a")
    assert not LogEntry.objects.filter(agent="a").exists()
    assert HistoryEntry.objects.filter(object_id="a", action_flag=3).exists()


def test_deletes_many_that_wait_for_each_other_and_leaves_what_runs(
    boss: Client, claimed: Claimed, submit: Submit
) -> None:
    claimed("runs")
    submit("b")
    submit("c", "b")
    chosen = {"action": "delete_selected", "_selected_action": ["runs", "b", "c"], "post": "yes"}
    assert "is running and cannot be deleted" in said(boss, TASKS, chosen)
    assert Task.objects.count() == 3
    said(boss, TASKS, {**chosen, "_selected_action": ["b"]})
    assert Task.objects.count() == 3
    said(boss, TASKS, {**chosen, "_selected_action": ["b", "c"]})
    assert list(Task.objects.values_list("pk", flat=True)) == ["runs"]
    deleted = HistoryEntry.objects.filter(action_flag=3).values_list("object_id", flat=True)
    assert set(deleted) == {"b", "c"}


def test_exports_what_is_chosen_and_no_formula(boss: Client, submit: Submit) -> None:
    submit("a", description="=1+1")
    submit("b", priority=Priority.HIGH)
    chosen = {"_selected_action": ["a", "b"]}
    as_json = boss.post(TASKS, {"action": "export_json", **chosen})
    tasks = {task["id"]: task for task in json.loads(as_json.getvalue())}
    assert tasks["b"]["priority"] == "high"
    rows = list(
        csv.DictReader(io.StringIO(boss.post(TASKS, {"action": "export_csv", **chosen}).getvalue().decode()))
    )
    assert {row["id"]: row["description"] for row in rows}["a"] == "'=1+1"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        *(("status__exact=failed", {"bad"}), ("status=failed", {"bad"})),
        *(("priority=2", {"urgent"}), ("type=docs", {"urgent"}), ("host=builder", {"bad"})),
        *(("q=urg", {"urgent"}), ("q=special", {"urgent"}), ("age=hour", {"bad", "urgent"})),
        ("agent=opencode", {"bad", "urgent"}),
    ],
)
def test_filters_and_searches(
    boss: Client, submit: Submit, claimed: Claimed, query: str, found: set[str]
) -> None:
    fail(claimed("bad"))
    submit("urgent", priority=Priority.HIGH, type="docs", description="something special")
    if query == "priority=2":
        query = "priority__exact=2"
    elif query == "status=failed":
        query = "status__exact=failed&priority__exact=1"
    page = boss.get(f"{TASKS}?{query}").content.decode()
    assert {name for name in ("bad", "urgent") if f">{name}<" in page} == found


def test_the_list_asks_as_often_for_hundreds_of_tasks_as_for_a_few(
    boss: Client, submit: Submit, claimed: Claimed
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert boss.get(TASKS).status_code == 200
        assert not [query for query in captured if "monitoring_logentry" in query["sql"]]
        return len(captured)

    claimed("run-0")
    submit("wait-0", "run-0")
    few = queries()
    for number in range(1, 150):
        submit(f"wait-{number}", f"wait-{number - 1}")
        submit(f"free-{number}")
    services.claim("builder", 100)
    assert queries() <= few
    assert few <= 20


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"evening", "noon", "morning"}),
        ("time_from_0=2026-03-02", {"evening", "noon"}),
        ("time_from_0=2026-03-02&time_from_1=12:30", {"evening"}),
        ("time_to_0=2026-03-02&time_to_1=12:30", {"noon", "morning"}),
        ("time_to_0=2026-03-01", {"morning"}),
        ("time_from_0=2026-03-01&time_to_0=2026-03-02&level__exact=error", {"noon"}),
    ],
)
def test_finds_log_entries_of_some_time(boss: Client, settings: Any, query: str, found: set[str]) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    # UTC, an hour behind.
    for text, level, time in (
        ("morning", "info", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("noon", "error", datetime(2026, 3, 2, 11, tzinfo=UTC)),
        ("evening", "info", datetime(2026, 3, 2, 22, 59, 59, tzinfo=UTC)),
    ):
        LogEntry.objects.create(level=level, message=text, time=time)
    page = boss.get(f"/admin/monitoring/logentry/?{query}")
    assert {entry.message for entry in page.context["cl"].result_list} == found
    assert "Enter a valid" not in page.content.decode()


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("time_from_0=soon", "Enter a valid date"),
        ("time_from_0=2026-03-01&time_from_1=late", "Enter a valid time"),
        ("time_to_1=12:00", "Choose a date to go with 12:00"),
    ],
)
def test_says_when_it_cannot_filter_by_time(boss: Client, query: str, complaint: str) -> None:
    LogEntry.objects.create(level="info", message="still shown")
    page = boss.get(f"/admin/monitoring/logentry/?{query}").content.decode()
    assert f"Not filtered by time: {complaint}" in page
    assert "still shown" in page


def test_reads_a_runs_log_forward_backward_by_level_and_as_a_file(boss: Client, claimed: Claimed) -> None:
    run, other = claimed("a"), claimed("b")
    LogEntry.objects.bulk_create(
        LogEntry(level="error" if n == 7 else "info", message=f"line {n}", agent="a", run_id=run.pk)
        for n in range(700)
    )
    LogEntry.objects.create(level="info", message="not ours", agent="b", run_id=other.pk)
    url = f"/admin/tasks/run/{run.pk}/log"
    last = boss.get(f"{url}.json").json()
    assert [last["entries"][0]["message"], last["entries"][-1]["message"]] == ["line 200", "line 699"]
    older = boss.get(f"{url}.json", {"before": last["entries"][0]["id"]}).json()
    assert [entry["message"] for entry in older["entries"]] == [f"line {n}" for n in range(200)]
    newer = boss.get(f"{url}.json", {"after": last["entries"][-2]["id"]}).json()
    assert [entry["message"] for entry in newer["entries"]] == ["line 699"]
    errors = boss.get(f"{url}.json", {"level": "warn"}).json()["entries"]
    assert [entry["message"] for entry in errors] == ["line 7"]
    assert boss.get(f"{url}.json", {"after": "x"}).status_code == 400
    text = boss.get(f"{url}.txt").getvalue().decode()
    assert len(text.splitlines()) == 700
    assert "not ours" not in text


def test_one_tasks_page_says_everything_about_it(boss: Client, claimed: Claimed, submit: Submit) -> None:
    run = claimed("a")
    Run.objects.filter(pk=run.pk).update(cost=Decimal("1.25"), tokens_input=4321)
    fail(run)
    submit("b", "a")
    page = boss.get(f"{TASKS}a/change/").content.decode()
    for words in ("no key", "check the key, its rights and its credit", "$1.25", "4321", ">b<", "/retry/"):
        assert words in page, words
    assert "/cancel/" not in page
    assert "blocked" in boss.get(f"{TASKS}b/change/").content.decode()


def test_a_tasks_page_goes_on_to_the_end_of_a_run_that_ended_while_it_was_made(
    boss: Client, claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows the task as running: nothing but its end would let it be drawn anew."""
    run = claimed("a")

    def end_meanwhile(task: Task) -> list[Run]:
        fail(run)
        return run_summaries(task)

    with monkeypatch.context() as patched:
        patched.setattr("tasks.admin.tasks.run_summaries", end_meanwhile)
        page = boss.get(f"{TASKS}a/change/").content.decode()
    assert "/cancel/" in page
    assert 'data-live="1"' in page
    page = boss.get(f"{TASKS}a/change/").content.decode()
    assert "/cancel/" not in page
    assert 'data-live=""' in page


def test_the_front_page_shows_work_failures_load_and_who_is_silent(boss: Client, claimed: Claimed) -> None:
    Host.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    assert "No worker has been heard from" in boss.get("/admin/").content.decode()
    Host.objects.update(last_seen_at=timezone.now())
    fail(claimed("broken"))
    claimed("at-work")
    page = boss.get("/admin/").content.decode()
    assert "Beat has not been heard from" in page
    assert ">broken<" in page
    assert ">at-work<" in page
    sampled(cpu_percent=41.5)
    page = boss.get("/admin/").content.decode()
    assert "heard from" not in page
    assert "41.5" in page


def test_only_processes_of_this_host_have_a_button_to_end_them(boss: Client, settings: Any) -> None:
    for pid, host in ((11, settings.HOSTNAME), (12, "elsewhere")):
        seen_agent(host=host, pid=pid)
    page = boss.get("/admin/processes/seenagent/").content.decode()
    assert "End process 11…" in page
    assert "End process 12…" not in page
    assert "only on elsewhere" in page


def test_a_process_that_is_not_an_agent_any_more_is_left_alone(boss: Client, settings: Any) -> None:
    seen = seen_agent(host=settings.HOSTNAME, cmdline="opencode run")
    url = f"/admin/processes/seenagent/{seen.pk}/end/"
    assert "opencode run" in boss.get(url).content.decode()
    assert "Process 1 has ended" in said(boss, url, {})
    assert not Kill.objects.exists()
