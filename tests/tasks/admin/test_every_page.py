"""What holds for every page of every registered model: permissions, addresses, the cost in queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, IntervalSchedule

from monitoring.models import LogEntry, ResourceSample, Upkeep
from opencode_site.access.models import ApiKey
from opencode_site.access.scopes import Scope
from opencode_site.access.services import create_key
from processes.models import Kill, SeenAgent
from tasks import schedules, services
from tasks.models import Host, Overlap, Run, Schedule, Task, Transition
from tests.tasks.admin.conftest import form, sampled, seen_agent

Submit = Callable[..., Task]
Claimed = Callable[..., Run]
TASKS = "/admin/tasks/task/"
EXTERNAL = re.compile(r"""(?:src|href|action|url\()\s*=?\s*["'(]?\s*(?:https?:)?//[^"')\s]+""")
READING = {"export_json", "export_csv"}
"""Actions that change nothing."""
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


def url(model: type[Model], page: str = "", pk: object = None) -> str:
    place = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    return f"{place}{pk}/{page}/" if pk is not None else f"{place}{page}/" if page else place


@pytest.fixture
def everything(claimed: Claimed, submit: Submit) -> Run:
    """At least one row of every model that the admin shows."""
    run = claimed("a")
    submit("b", "a")
    LogEntry.objects.create(level="info", message="said", agent="a", run_id=run.pk)
    sampled()
    seen_agent(pid=7)
    Kill.objects.create(host="builder", pid=8, signal="SIGTERM", asked_by="x", outcome="ended")
    CrontabSchedule.objects.create(minute="30", hour="2")
    every = IntervalSchedule.objects.create(every=1, period="hours")
    schedules.save(
        Schedule(name="hourly", interval=every, overlap=Overlap.SKIP, type="testing", description="d")
    )
    schedules.take_turn_now(Schedule.objects.get(), "boss")
    Group.objects.create(name="people")
    Upkeep.objects.create(pk=1)
    create_key(name="the build server", scope=Scope.READ)
    return run


def pages(model: type[Model], *kinds: str) -> Iterator[str]:
    """The pages of every object of a model."""
    for row in model._default_manager.all()[:3]:
        yield from (url(model, kind, quote(row.pk)) for kind in kinds)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_those_who_may_only_view_see_everything_and_change_nothing(
    staff: Callable[..., Client], everything: Run, model: type[Model]
) -> None:
    client = staff(f"view_{model._meta.model_name}")
    before = list(model._default_manager.order_by("pk").values())
    page = client.get(url(model), follow=True)
    assert page.status_code == 200
    form_of_actions = page.context.get("action_form")
    offered = {name for name, _ in form_of_actions.fields["action"].choices} if form_of_actions else set()
    assert offered - {""} <= READING
    for address in pages(model, "change"):
        shown = client.get(address)
        assert shown.status_code == 200, address
        assert b'name="_save"' not in shown.content
        assert client.post(address, form("a")).status_code == 403, address
    for address in (url(model, "add"), *pages(model, "delete")):
        assert client.post(address, {"post": "yes", **form("new")}).status_code == 403, address
    for action in ("delete_selected", *(admin.site._registry[model].actions or ())):
        if action not in READING:
            chosen = [str(row["id"]) for row in before if "id" in row]
            client.post(url(model), {"action": action, "_selected_action": chosen, "post": "yes"})
    assert list(model._default_manager.order_by("pk").values()) == before


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_names_nothing_outside_this_machine(boss: Client, everything: Run, model: type[Model]) -> None:
    SeenAgent.objects.update(host=settings.HOSTNAME)
    found = [url(model), url(model, "add"), *pages(model, "change", "history", "delete")]
    if model is SeenAgent:
        found += pages(SeenAgent, "end")
    if model is Task:
        found += [*pages(Task, "cancel", "duplicate"), f"{TASKS}a/retry/"]
    read = 0
    for address in found:
        page = boss.get(address, follow=True)
        # What may not be added, changed or deleted here has no such page.
        assert page.status_code in ((200,) if address == url(model) else (200, 403)), address
        read += page.status_code == 200
        assert EXTERNAL.findall(page.content.decode()) == [], address
    assert read >= 1


def test_names_nothing_outside_on_the_other_pages_either(boss: Client, everything: Run) -> None:
    for address in ("/admin/", "/admin/password_change/", "/admin/login/"):
        client = Client() if "login" in address else boss
        page = client.get(address)
        assert page.status_code == 200
        assert EXTERNAL.findall(page.content.decode()) == [], address


# --- What a page costs ------------------------------------------------------------------------------------


def queries(client: Client, address: str, data: dict[str, object] | None = None) -> list[str]:
    """The SQL that a page takes."""
    with CaptureQueriesContext(connection) as captured:
        answer = client.post(address, data) if data is not None else client.get(address)
    assert answer.status_code == 200, address
    return [query["sql"] for query in captured]


def multiply(model: type[Model], unique: str = "") -> None:
    """150 rows more, like the first."""
    first: dict[str, Any] = dict(model._default_manager.values()[0])
    del first["id"]
    rows = ({**first, unique: 1000 + number} if unique else first for number in range(150))
    model._default_manager.bulk_create(model(**row) for row in rows)


@pytest.mark.parametrize(
    "model",
    [Run, Transition, Host, Schedule, LogEntry, ResourceSample, SeenAgent, Kill, ApiKey],
    ids=lambda model: model._meta.label,
)
def test_a_list_asks_as_often_for_many_rows_as_for_a_few(
    boss: Client, everything: Run, claimed: Claimed, submit: Submit, model: type[Model]
) -> None:
    few = len(queries(boss, url(model)))
    for number in range(1, 40):
        submit(f"wait-{number}", "a")
        submit(f"free-{number}")
        create_key(name=f"key {number}", scope=Scope.READ)
    services.claim("builder", 100)
    multiply(LogEntry)
    multiply(ResourceSample, "stamp")
    multiply(SeenAgent, "pid")
    multiply(Kill)
    multiply(Schedule, "name")
    for schedule in Schedule.objects.all():
        schedules.take_turn_now(schedule, "boss")
    for number in range(40):
        services.report_host(f"host-{number}", slots=1, pid=1, started_at=everything.created_at, agents={})
    asked = queries(boss, url(model))
    assert len(asked) <= few
    assert few <= 20


def test_deleting_many_asks_as_often_as_deleting_a_few(boss: Client, everything: Run, submit: Submit) -> None:
    for number in range(60):
        submit(f"chosen-{number}")
        submit(f"waits-{number}", f"chosen-{number}")

    def question(count: int) -> list[str]:
        chosen = [f"chosen-{number}" for number in range(count)]
        return queries(boss, TASKS, {"action": "delete_selected", "_selected_action": chosen})

    assert len(question(50)) <= len(question(2))


def test_logs_are_never_counted_nor_read_from_end_to_end(boss: Client, everything: Run) -> None:
    """Of ten million rows: every query of a page that shows a log finds its rows by an index, in order."""
    LogEntry.objects.bulk_create(
        LogEntry(level="info", message=f"line {n}", agent="a", run_id=everything.pk) for n in range(600)
    )
    about_logs = []
    for address in (
        *("/admin/monitoring/logentry/", "/admin/monitoring/logentry/?p=3"),
        *("/admin/monitoring/logentry/?q=a&level__exact=info", "/admin/monitoring/logentry/?_facets=True"),
        *(f"{TASKS}a/change/", f"{TASKS}a/delete/", f"/admin/tasks/run/{everything.pk}/change/"),
        *(f"/admin/tasks/run/{everything.pk}/log.json{query}" for query in ("", "?level=warn", "?after=5")),
    ):
        asked = queries(boss, address)
        about_logs += [sql for sql in asked if '"monitoring_logentry"' in sql]
        for sql in asked:
            assert_found_by_index(sql, "monitoring_logentry")
    assert about_logs
    assert not [sql for sql in about_logs if "COUNT(" in sql]


@pytest.mark.parametrize(
    "query", ["time_from_0=2020-01-01&level__exact=info", "time_to_0=2020-01-01&time_to_1=12:00&p=2"]
)
def test_log_entries_of_some_time_are_found_by_the_time(boss: Client, everything: Run, query: str) -> None:
    """However many newer ones there are, and however many of the level."""
    LogEntry.objects.bulk_create(
        LogEntry(level="info", message="old", time=datetime(2020, 1, 1, tzinfo=UTC)) for _ in range(101)
    )
    asked = queries(boss, f"/admin/monitoring/logentry/?{query}")
    about_logs = [sql for sql in asked if 'FROM "monitoring_logentry"' in sql]
    assert about_logs
    if connection.vendor == "sqlite":
        assert {tuple(plan_of(sql)) for sql in about_logs} <= {
            (f"SEARCH monitoring_logentry USING INDEX log_time (time{bound}?)",) for bound in "<>"
        }


def test_the_lists_of_tasks_and_runs_come_by_an_index(boss: Client, everything: Run, submit: Submit) -> None:
    for _ in range(60):  # more than one page
        submit()
    for address in (
        *(TASKS, f"{TASKS}?status__exact=failed", f"{TASKS}?age=day", f"{TASKS}?p=1"),
        *("/admin/tasks/run/", "/admin/tasks/run/?outcome__exact=failed", "/admin/"),
    ):
        for sql in queries(boss, address):
            if "COUNT(" not in sql:
                assert_found_by_index(sql, "tasks_task")
                assert_found_by_index(sql, "tasks_run")


def plan_of(sql: str) -> list[str]:
    """The steps in which SQLite would answer."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return [row[3] for row in cursor.fetchall()]


def assert_found_by_index(sql: str, table: str) -> None:
    """That SQLite finds the rows by an index, in the order asked for, or only those of one task or run."""
    if f'"{table}"' not in sql or connection.vendor != "sqlite" or not sql.startswith("SELECT"):
        return
    plan = plan_of(sql)
    steps = [step for step in plan if re.match(rf"(SCAN|SEARCH) {table}\b", step)]
    sorts = any("TEMP B-TREE FOR ORDER BY" in step for step in plan)
    for step in steps:
        few = re.search(r"\((task_id|run_id|id|agent)=\?", step) is not None
        # The index of the runs in flight holds no others.
        by_index = step.startswith("SEARCH") or "run_in_flight" in step or (" LIMIT " in sql and not sorts)
        assert by_index, (sql, plan)
        assert few or not sorts, (sql, plan)
