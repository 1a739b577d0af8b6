"""The lifecycle, against a real database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from monitoring.models import LogEntry
from tasks import services
from tasks.agents.base import Exit, LogLine, Report, Verdict
from tasks.errors import (
    InvalidField,
    LostRace,
    OutsideAllowedRoots,
    TaskAlreadyExists,
    TaskError,
    TaskNotFound,
    WorkingDirMissing,
)
from tasks.failures import FailureReason
from tasks.models import TRANSITIONS, Priority, Run, RunState, Status, Task, Transition
from tasks.selectors import dependency_ids, get_task, list_tasks, runtime

Submit = Callable[..., Task]
Claimed = Callable[..., Run]

SUCCESS = Verdict(succeeded=True, reason=None, detail="")
CLEAN = Exit(code=0, signal=None, stopped_by=None)


def failure(reason: FailureReason = FailureReason.AUTH, detail: str = "no key") -> Verdict:
    return Verdict(succeeded=False, reason=reason, detail=detail)


def finish(run: Run, verdict: Verdict = SUCCESS, exit: Exit = CLEAN) -> Task:
    return services.finish(run, verdict, exit, peak_memory=1, cpu_seconds=0.5)


def history(task_id: str) -> list[tuple[str, str]]:
    return list(Transition.objects.filter(task_id=task_id).values_list("old_status", "new_status"))


def test_stores_a_task_as_pending_with_its_first_transition(submit: Submit) -> None:
    task = submit("a", priority=Priority.HIGH, timeout_ms=60_000)
    stored = get_task("a")
    assert (stored.status, stored.priority, stored.progress, stored.timeout_ms) == ("pending", 2, 0, 60_000)
    assert history(task.pk) == [("", "pending")]


def test_refuses_an_id_that_exists_and_keeps_the_first_task(submit: Submit) -> None:
    submit("a", description="first")
    with pytest.raises(TaskAlreadyExists):
        submit("a", description="second")
    assert get_task("a").description == "first"


def test_refuses_an_unknown_dependency_and_stores_nothing(submit: Submit) -> None:
    with pytest.raises(TaskNotFound) as caught:
        submit("a", "missing")
    assert caught.value.facts == {"task_id": "missing"}
    assert not Task.objects.exists()


def test_refuses_a_dependency_on_itself(submit: Submit) -> None:
    with pytest.raises(InvalidField) as caught:
        submit("a", "a")
    assert caught.value.facts["field"] == "task.dependencies"


def test_keeps_the_order_of_dependencies_and_each_once(submit: Submit) -> None:
    for needed in "xyz":
        submit(needed)
    assert dependency_ids(submit("a", "z", "x", "z", "y")) == ["z", "x", "y"]


def test_refuses_an_agent_that_is_not_configured(submit: Submit) -> None:
    with pytest.raises(InvalidField) as caught:
        submit("a", agent="hal9000")
    assert "opencode" in caught.value.facts["expected"]


def test_refuses_a_working_directory_outside_the_roots_symbolic_links_resolved(
    submit: Submit, tmp_path: Path, settings: object
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/")
    (root / "inside").mkdir()
    settings.ALLOWED_ROOTS = [root]  # type: ignore[attr-defined]
    settings.PROJECT_DIR = root  # type: ignore[attr-defined]
    for outside in ("/", str(root / "link"), str(root / ".."), "../..", str(tmp_path / "root-twin")):
        with pytest.raises(OutsideAllowedRoots):
            submit(working_dir=outside)
    with pytest.raises(WorkingDirMissing):
        submit(working_dir=str(root / "nowhere"))
    assert submit(working_dir="inside").working_dir == str(root / "inside")


def test_claims_by_priority_and_then_by_age(host: str, submit: Submit) -> None:
    for task_id, priority in (
        ("low", Priority.LOW),
        ("old", Priority.HIGH),
        ("new", Priority.HIGH),
        ("mid", Priority.MEDIUM),
    ):
        submit(task_id, priority=priority)
    assert [run.task_id for run in services.claim(host, 3)] == ["old", "new", "mid"]
    assert get_task("low").status == "pending"


def test_claims_no_more_than_the_free_slots(host: str, submit: Submit) -> None:
    for _ in range(3):
        submit()
    assert len(services.claim(host, 2)) == 2
    assert services.claim(host, 2) == []


def test_starts_a_dependent_only_when_all_its_dependencies_are_completed(host: str, submit: Submit) -> None:
    submit("first")
    submit("second")
    submit("last", "first", "second")
    runs = services.claim(host, 9)
    assert {run.task_id for run in runs} == {"first", "second"}
    finish(runs[0])
    assert runtime(get_task("last"))[0] == "waiting"
    assert services.claim(host, 9) == []
    finish(runs[1])
    assert [run.task_id for run in services.claim(host, 9)] == ["last"]


def test_blocks_a_dependent_of_a_failed_task_until_that_one_is_retried(host: str, submit: Submit) -> None:
    submit("first")
    submit("last", "first")
    (run,) = services.claim(host, 9)
    finish(run, failure())
    word, why = runtime(get_task("last"))
    assert word == "blocked"
    assert "first" in why
    services.retry("first")
    assert runtime(get_task("last"))[0] == "waiting"


def new(task_id: str, *needs: str, **values: Any) -> services.NewTask:
    return services.NewTask(id=task_id, type="testing", description="d", dependencies=needs, **values)


def test_stores_several_and_refuses_among_them_only_what_is_wrong(submit: Submit) -> None:
    submit("there")
    asked = [
        *(new("b", "there", "there"), new("a", "b"), new("a"), new("there"), new("c", "missing")),
        *(new("d", working_dir="/"), new("e", "later"), new("later"), new("f", agent="nobody")),
    ]
    results = services.submit_all(asked)
    assert [getattr(result, "pk", type(result).__name__) for result in results] == [
        *("b", "a", "TaskAlreadyExists", "TaskAlreadyExists", "TaskNotFound"),
        *("OutsideAllowedRoots", "TaskNotFound", "later", "InvalidField"),
    ]
    assert [task.pk for task in list_tasks(limit=9).tasks] == ["later", "a", "b", "there"]
    assert (dependency_ids(get_task("b")), dependency_ids(get_task("a"))) == (["there"], ["b"])
    assert list(Transition.objects.values_list("task_id", flat=True)) == ["there", "b", "a", "later"]


@pytest.mark.django_db(transaction=True)
def test_stores_each_task_once_however_many_submit_it_at_once(host: str) -> None:
    ids = [f"t{number}" for number in range(40)]
    results: list[Task | TaskError] = []
    start = threading.Barrier(4)

    def client(order: int) -> None:
        try:
            start.wait()
            for begin in range(0, len(ids), 8):
                results.extend(services.submit_all([new(id) for id in ids[begin : begin + 8][::order]]))
        finally:
            connection.close()

    threads = [threading.Thread(target=client, args=[order]) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = [result.pk for result in results if isinstance(result, Task)]
    assert sorted(stored) == sorted(ids)
    assert [type(result) for result in results].count(TaskAlreadyExists) == 3 * len(ids)
    assert sorted(Transition.objects.values_list("task_id", flat=True)) == sorted(ids)


@pytest.mark.django_db(transaction=True)
def test_claims_a_task_once_however_many_dispatchers_race(host: str, submit: Submit) -> None:
    for _ in range(12):
        submit()
    runs: list[Run] = []
    problems: list[Exception] = []
    start = threading.Barrier(6)

    def dispatcher() -> None:
        try:
            start.wait()
            while claimed := services.claim(host, 12):
                runs.extend(claimed)
        except Exception as problem:  # noqa: BLE001 - asserted below, in the test's own thread
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=dispatcher) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len({run.task_id for run in runs}) == len(runs) == 12
    assert Run.objects.count() == 12


def test_completes_a_task_with_progress_100(claimed: Claimed) -> None:
    task = finish(claimed("a"))
    assert (task.status, task.progress) == ("completed", 100)
    assert get_task("a").completed_at is not None
    assert history("a") == [("", "pending"), ("pending", "running"), ("running", "completed")]
    entry = LogEntry.objects.get(agent="a")
    assert (entry.level, entry.message) == ("info", "Task completed successfully")
    assert entry.details["execution_time"] >= 0


def test_fails_a_task_with_the_reason_and_the_sentence(claimed: Claimed) -> None:
    run = claimed("a")
    finish(
        run, failure(FailureReason.AUTH, "The key was refused"), Exit(code=1, signal=None, stopped_by=None)
    )
    task = get_task("a")
    run.refresh_from_db()
    assert (task.status, task.failure_reason, task.error) == ("failed", "auth", "The key was refused")
    assert (run.state, run.outcome, run.failure_reason, run.exit_code) == ("ended", "failed", "auth", 1)


def test_ends_a_run_once(claimed: Claimed) -> None:
    run = claimed("a")
    finish(run)
    with pytest.raises(LostRace):
        finish(run, failure())
    assert get_task("a").status == "completed"


def test_cancels_a_pending_task_at_once(submit: Submit) -> None:
    submit("a")
    assert services.cancel("a").status == "cancelled"
    assert get_task("a").status == "cancelled"


def test_asks_a_running_task_to_end_and_cancels_it_when_its_run_has(claimed: Claimed) -> None:
    run = claimed("a")
    assert services.cancel("a").status == "running"
    assert runtime(get_task("a"))[0] == "cancelling"
    finish(run, failure(FailureReason.KILLED), Exit(code=None, signal=15, stopped_by="cancelled"))
    task = get_task("a")
    assert (task.status, task.failure_reason, task.error) == ("cancelled", "", "")


def test_tells_the_truth_when_the_agent_finished_before_the_cancel_reached_it(claimed: Claimed) -> None:
    run = claimed("a")
    services.cancel("a")
    assert finish(run).status == "completed"


def test_refuses_to_cancel_a_finished_task(claimed: Claimed) -> None:
    finish(claimed("a"))
    with pytest.raises(InvalidField) as caught:
        services.cancel("a")
    assert (caught.value.facts["field"], caught.value.facts["value"]) == ("status", "completed")


def test_retries_a_failed_task_as_a_new_run(host: str, claimed: Claimed) -> None:
    finish(claimed("a"), failure())
    task = services.retry("a")
    assert (task.status, task.retry_count, task.error, task.completed_at) == ("pending", 1, "", None)
    (run,) = services.claim(host, 9)
    assert run.number == 2


@pytest.mark.parametrize("status", ["pending", "running", "completed"])
def test_refuses_to_retry_a_task_that_is(status: str, host: str, submit: Submit) -> None:
    submit("a")
    if status != "pending":
        (run,) = services.claim(host, 9)
        if status == "completed":
            finish(run)
    with pytest.raises(InvalidField):
        services.retry("a")
    assert (get_task("a").status, get_task("a").retry_count) == (status, 0)


def test_names_an_unknown_task(db: None) -> None:
    for act in (services.cancel, services.retry, get_task):
        with pytest.raises(TaskNotFound):
            act("nobody")


def test_waits_as_long_as_the_provider_asks_for(claimed: Claimed) -> None:
    run = claimed("a", max_retries=1)
    finish(run, replace(failure(FailureReason.RATE_LIMIT, "slow down"), retry_after=1800.0))
    waits = get_task("a").not_before
    assert waits is not None
    assert timedelta(minutes=29) < waits - timezone.now() <= timedelta(minutes=30)


def test_tries_again_by_itself_when_the_failure_is_worth_it(claimed: Claimed, host: str) -> None:
    run = claimed("a", max_retries=1)
    finish(run, failure(FailureReason.PROVIDER_UNREACHABLE))
    task = get_task("a")
    assert (task.status, task.retry_count) == ("pending", 1)
    assert services.claim(host, 9) == []
    assert runtime(task)[0] == "waiting"
    Task.objects.update(not_before=timezone.now())
    (again,) = services.claim(host, 9)
    finish(again, failure(FailureReason.PROVIDER_UNREACHABLE))
    assert get_task("a").status == "failed"


def test_does_not_try_again_what_cannot_succeed(claimed: Claimed) -> None:
    finish(claimed("a", max_retries=5), failure(FailureReason.AUTH))
    assert get_task("a").status == "failed"


def test_waits_longer_before_each_further_try() -> None:
    for attempt, middle in ((1, 10), (2, 20), (3, 40), (20, 600)):
        assert 0.8 * middle <= services.retry_delay(attempt).total_seconds() <= 1.2 * middle


def output(run: Run, *messages: str, progress: int | None = None) -> services.Output:
    report = Report.from_json(run.report)
    report.progress = progress
    report.tokens_input += 100
    report.cost = str(Decimal(str(report.cost)) + Decimal("0.002"))
    lines = [LogLine(level="info", message=message, details={}, time=None) for message in messages]
    return services.Output(
        stdout_offset=run.stdout_offset + 10, stderr_offset=run.stderr_offset, lines=lines, report=report
    )


def test_stores_lines_offset_and_spending_together(claimed: Claimed) -> None:
    run = claimed("a")
    services.store_output(run, output(run, "one", "two", progress=33))
    services.store_output(run, output(run, "three", progress=66))
    stored = Run.objects.get(pk=run.pk)
    assert (stored.stdout_offset, stored.tokens_input, stored.cost) == (20, 200, Decimal("0.004"))
    assert list(LogEntry.objects.values_list("message", "agent")) == [
        ("one", "a"),
        ("two", "a"),
        ("three", "a"),
    ]
    assert get_task("a").progress == 66
    assert history("a")[2:] == [("running", "running")] * 2


def test_stores_no_line_twice_when_two_followers_read_the_same(claimed: Claimed) -> None:
    run = claimed("a")
    twin = Run.objects.get(pk=run.pk)
    services.store_output(run, output(run, "one"))
    with pytest.raises(LostRace):
        services.store_output(twin, output(twin, "one"))
    assert LogEntry.objects.count() == 1


def test_stores_nothing_for_a_run_that_has_ended(claimed: Claimed) -> None:
    run = claimed("a")
    finish(run)
    with pytest.raises(LostRace):
        services.store_output(run, output(run, "late"))
    assert not LogEntry.objects.filter(message="late").exists()


def test_refuses_an_illegal_transition_from_the_shell_too(claimed: Claimed, submit: Submit) -> None:
    finish(claimed("completed"))
    finish(claimed("failed"), failure())
    submit("pending")
    now = timezone.now()
    for old in ("pending", "completed", "failed"):
        illegal = set(Status.values) - {s.value for s in TRANSITIONS[Status(old)]} - {old}
        for new in illegal:
            with pytest.raises(DatabaseError, match="illegal transition"), transaction.atomic():
                Task.objects.filter(pk=old).update(
                    status=new, completed_at=now if new in ("completed", "failed", "cancelled") else None
                )
        assert get_task(old).status == old


def test_lets_every_task_begin_as_pending_only(db: None) -> None:
    with pytest.raises(DatabaseError, match="begins as pending"), transaction.atomic():
        Task.objects.create(id="a", type="t", description="d", working_dir="/", status=Status.RUNNING)


def test_never_reopens_an_ended_run(claimed: Claimed) -> None:
    run = claimed("a")
    finish(run)
    with pytest.raises(DatabaseError, match="stays ended"), transaction.atomic():
        Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING, ended_at=None, outcome="")


def test_allows_one_run_in_flight_per_task(claimed: Claimed) -> None:
    run = claimed("a")
    with pytest.raises(DatabaseError), transaction.atomic():
        Run.objects.create(
            task=run.task, number=2, host="b", agent="opencode", lease_expires_at=timezone.now()
        )


def test_lists_newest_first_with_both_counts(
    submit: Submit, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(5):
        submit(f"t{number}", type="testing" if number % 2 else "documentation")
    with django_assert_num_queries(3):
        page = list_tasks(type="documentation", limit=2)
    assert [task.pk for task in page.tasks] == ["t4", "t2"]
    assert (page.total_count, page.filtered_count) == (5, 3)
    assert [task.pk for task in list_tasks(limit=10, offset=3).tasks] == ["t1", "t0"]


def test_says_why_a_ready_task_waits(submit: Submit, host: str) -> None:
    task = submit("a")
    assert runtime(task) == ("queued", "It waits for a free slot: 0 of 4 agents are running.")


def test_says_that_no_host_is_there(submit: Submit) -> None:
    word, why = runtime(submit("a"))
    assert (word, "worker" in why) == ("queued", True)


def wanted(task_id: str, **values: object) -> services.NewTask:
    given: dict[str, object] = {"type": "docs", "description": "edited", **values}
    return services.NewTask(id=task_id, **given)  # type: ignore[arg-type]


def test_edits_a_pending_task_and_its_dependencies(submit: Submit) -> None:
    submit("a")
    submit("b")
    submit("c", "a")
    services.edit(wanted("c", priority=Priority.HIGH, dependencies=("b",)))
    task = get_task("c")
    assert (task.description, task.type, task.priority) == ("edited", "docs", Priority.HIGH)
    assert dependency_ids(task) == ["b"]
    assert history("c")[-1] == ("pending", "pending")


def test_refuses_an_edit_that_closes_a_circle_and_changes_nothing(submit: Submit) -> None:
    submit("a")
    submit("b", "a")
    submit("c", "b")
    with pytest.raises(InvalidField, match="would wait for itself"):
        services.edit(wanted("a", dependencies=("c",)))
    assert get_task("a").description != "edited"
    assert dependency_ids(get_task("a")) == []


def test_refuses_to_edit_or_move_or_delete_a_running_task(claimed: Claimed) -> None:
    task_id = claimed("a").task_id
    for change in (
        lambda: services.edit(wanted(task_id)),
        lambda: services.change_priority(task_id, Priority.LOW),
        lambda: services.delete(task_id),
    ):
        with pytest.raises(InvalidField, match="is running and"):
            change()
    assert get_task(task_id).status == Status.RUNNING


def test_deletes_a_task_with_its_runs_and_logs_unless_another_needs_it(
    submit: Submit, claimed: Claimed
) -> None:
    run = claimed("a")
    finish(run)
    submit("b", "a")
    with pytest.raises(InvalidField, match="'b' depends on it"):
        services.delete("a")
    services.delete("b")
    assert LogEntry.objects.filter(agent="a").exists()
    services.delete("a")
    assert not LogEntry.objects.filter(agent="a").exists()
    assert not Run.objects.exists()
    with pytest.raises(TaskNotFound):
        services.delete("a")


def test_duplicates_a_task_with_its_dependencies_as_pending(submit: Submit) -> None:
    submit("a")
    submit("b", "a", priority=Priority.LOW)
    services.cancel("b")
    copy = services.duplicate("b", "b-2")
    assert (copy.status, copy.priority, dependency_ids(copy)) == ("pending", Priority.LOW, ["a"])


def test_moves_a_pending_task_in_the_queue(submit: Submit) -> None:
    submit("a")
    assert services.change_priority("a", Priority.HIGH).priority == Priority.HIGH
