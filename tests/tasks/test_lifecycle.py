"""The lifecycle against a model of it: random histories by one hand, and by many hands at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from monitoring.models import LogEntry
from tasks import services
from tasks.agents.base import Exit, LogLine, Report, Verdict
from tasks.errors import InvalidField, LostRace
from tasks.failures import RETRYABLE, FailureReason, explain
from tasks.models import TRANSITIONS, Dependency, Host, Priority, Run, RunState, Status, Task

HOST = "machine"
SLOTS = 3
HOST_ACTS = ("claim", "start", "say", "finish", "lose")
"""In one rule, several at once: Hypothesis switches single rules off for whole histories."""
MANY = 4
"""Tasks that a random history has at once."""
FINISHED = {"completed", "failed", "cancelled"}
ENDS = ("good", FailureReason.AUTH, FailureReason.RATE_LIMIT, FailureReason.LOST)


@dataclass
class Known:
    """A task as it should be."""

    needs: list[str]
    priority: Priority
    max_retries: int
    number: int
    status: str = "pending"
    progress: int = 0
    retries: int = 0
    runs: list[str] = field(default_factory=list)
    """The outcome of each, empty for one in flight."""
    started: bool = False
    """Whether the agent of the newest run exists, as far as its host has told."""
    stop: bool = False
    waits: bool = False
    """Whether an automatic retry lets it wait."""
    lines: int = 0


def end(run: Run, how: str) -> None:
    """Ends a run in one of `ENDS`."""
    if how == "good":
        verdict, code = Verdict(succeeded=True, reason=None, detail=""), 0
    else:
        reason = FailureReason(how)
        verdict, code = Verdict(succeeded=False, reason=reason, detail=explain(reason)), 1
    exit = Exit(code=code, signal=None, stopped_by=None)
    services.finish(run, verdict, exit, peak_memory=None, cpu_seconds=None)


def report_host() -> None:
    services.report_host(HOST, slots=SLOTS, pid=1, started_at=timezone.now(), agents={})


def output_after(run: Run, progress: int | None) -> services.Output:
    return services.Output(
        stdout_offset=run.stdout_offset + 7,
        stderr_offset=0,
        lines=[LogLine.of("info", "a line")],
        report=Report(progress=progress),
    )


def start(run: Run) -> None:
    services.mark_started(run, supervisor_pid=2, agent_pid=3, identity="boot 4", at=timezone.now())


class Lifecycle(RuleBasedStateMachine):
    """Does what users and hosts do; after each step the database must be as the model says."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Known] = {}
        self.count = 0
        report_host()

    def teardown(self) -> None:
        LogEntry.objects.all().delete()
        Dependency.objects.all().delete()
        Task.objects.all().delete()
        Host.objects.all().delete()

    # Few, so that much happens to each.
    @precondition(lambda self: len(self.known) < MANY)
    @rule(target=tasks, priority=st.sampled_from(Priority), max_retries=st.integers(0, 2))
    def submit(self, priority: Priority, max_retries: int) -> str:
        return self.submitted([], priority, max_retries)

    @precondition(lambda self: len(self.known) < MANY)
    @rule(target=tasks, one=tasks, other=tasks, priority=st.sampled_from(Priority))
    def submit_dependent(self, one: str, other: str, priority: Priority) -> str:
        return self.submitted([one, other], priority, 1)

    def submitted(self, needs: list[str], priority: Priority, max_retries: int) -> str:
        self.count += 1
        task_id = f"task-{self.count}"
        services.submit(
            services.NewTask(
                id=task_id,
                type="testing",
                description="d",
                priority=priority,
                max_retries=max_retries,
                dependencies=tuple(needs),
            )
        )
        self.known[task_id] = Known(
            needs=list(dict.fromkeys(needs)), priority=priority, max_retries=max_retries, number=self.count
        )
        return task_id

    @rule(draw=st.data(), acts=st.lists(st.sampled_from(HOST_ACTS), min_size=1, max_size=6))
    def host(self, draw: st.DataObject, acts: list[str]) -> None:
        for act in acts:
            self.act_of_host(act, draw)

    def act_of_host(self, act: str, draw: st.DataObject) -> None:
        running = sorted(task_id for task_id, known in self.known.items() if known.status == "running")
        if act == "claim" or not running:
            self.claim()
            return
        run = Run.objects.exclude(state=RunState.ENDED).get(task_id=draw.draw(st.sampled_from(running)))
        known = self.known[run.task_id]
        if act == "start":
            start(run)
            known.started = True
        elif act == "say":
            progress = draw.draw(st.none() | st.integers(1, 99))
            services.store_output(run, output_after(run, progress))
            known.lines += 1
            known.progress = known.progress if progress is None else progress
        elif act == "finish":
            how = draw.draw(st.sampled_from(ENDS))
            end(run, how)
            self.has_ended(known, how)
        else:
            services.lose(run)
            self.has_ended(known, FailureReason.LOST)

    def claim(self) -> None:
        ready = [
            task_id
            for task_id, known in self.known.items()
            if known.status == "pending"
            and not known.waits
            and all(self.known[needed].status == "completed" for needed in known.needs)
        ]
        ready.sort(key=lambda task_id: (-self.known[task_id].priority, self.known[task_id].number))
        free = SLOTS - sum(known.status == "running" for known in self.known.values())
        claimed = services.claim(HOST, SLOTS)
        assert [run.task_id for run in claimed] == ready[: max(free, 0)]
        for run in claimed:
            known = self.known[run.task_id]
            known.status, known.stop, known.started = "running", False, False
            known.runs.append("")
            assert run.number == len(known.runs)

    @rule(task=tasks)
    def come_too_late(self, task: str) -> None:
        """A host tells of a run that has ended: nothing becomes of it."""
        run = Run.objects.filter(task_id=task, state=RunState.ENDED).first()
        if run is None:
            return
        start(run)
        with pytest.raises(LostRace):
            services.store_output(run, output_after(run, 50))
        with pytest.raises(LostRace):
            end(run, "good")
        with pytest.raises(LostRace):
            services.lose(run)

    def has_ended(self, known: Known, how: str) -> None:
        known.status = "completed" if how == "good" else "cancelled" if known.stop else "failed"
        known.progress = 100 if how == "good" else known.progress
        known.runs[-1] = known.status
        known.lines += 1
        if known.status == "failed" and how in RETRYABLE and len(known.runs) <= known.max_retries:
            known.status, known.waits = "pending", True
            self.is_again_pending(known)

    def is_again_pending(self, known: Known) -> None:
        known.status, known.progress = "pending", 0
        known.retries += 1

    @rule(target=tasks, task=consumes(tasks))
    def delete(self, task: str) -> Any:
        needed = any(task in other.needs for other in self.known.values())
        if self.known[task].status == "running" or needed:
            with pytest.raises(InvalidField):
                services.delete(task)
            return task
        services.delete(task)
        del self.known[task]
        assert not LogEntry.objects.filter(agent=task).exists()
        assert not Run.objects.filter(task_id=task).exists()
        return multiple()

    @rule(task=tasks)
    def cancel(self, task: str) -> None:
        known = self.known[task]
        if known.status in FINISHED:
            with pytest.raises(InvalidField):
                services.cancel(task)
            return
        services.cancel(task)
        if known.status == "pending":
            known.status, known.waits = "cancelled", False
        else:
            known.stop = True

    @rule(task=tasks)
    def retry(self, task: str) -> None:
        known = self.known[task]
        if known.status not in ("failed", "cancelled"):
            with pytest.raises(InvalidField):
                services.retry(task)
            return
        services.retry(task)
        self.is_again_pending(known)

    @rule()
    def let_time_pass(self) -> None:
        """Every automatic retry is due."""
        Task.objects.filter(not_before__isnull=False).update(not_before=timezone.now())
        for known in self.known.values():
            known.waits = False

    @invariant()
    def is_as_the_model_says(self) -> None:
        assert set(Task.objects.values_list("pk", flat=True)) == self.known.keys()
        for task in Task.objects.all():
            known = self.known[task.pk]
            told = (task.status, task.progress, task.retry_count)
            assert told == (known.status, known.progress, known.retries), task.pk
            runs = list(task.runs.order_by("number"))
            assert [run.outcome for run in runs] == known.runs
            running = RunState.RUNNING if known.started else RunState.STARTING
            states = [RunState.ENDED if outcome else running for outcome in known.runs]
            assert [run.state for run in runs] == states
            assert LogEntry.objects.filter(agent=task.pk).count() == known.lines
            assert_history(task)


def assert_history(task: Task) -> None:
    """Every change begins where the one before it ended, and each was allowed."""
    status = ""
    for change in task.transitions.order_by("pk"):
        assert change.old_status == status
        assert change.new_status == status or change.new_status in (
            TRANSITIONS[Status(status)] if status else [Status.PENDING]
        )
        status = change.new_status
    assert status == task.status


@pytest.mark.slow
@pytest.mark.django_db
def test_does_what_the_model_does() -> None:
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=40,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.django_db(transaction=True)
def test_keeps_a_true_history_when_everybody_acts_at_once() -> None:
    """Six hands cancel, retry, claim and end the same ten tasks; only refusals may come of it."""
    report_host()
    names = [f"task-{number}" for number in range(10)]
    for name in names:
        services.submit(services.NewTask(id=name, type="testing", description="d", max_retries=1))
    problems: list[Exception] = []
    start = threading.Barrier(6)

    def act(seed: int) -> None:
        draw = random.Random(seed)
        acts: list[Callable[[str], Any]] = [services.cancel, services.retry, claim, finish_one(draw)]
        start.wait()
        try:
            for _ in range(60):
                try:
                    draw.choice(acts)(draw.choice(names))
                except (InvalidField, LostRace):
                    continue
        except Exception as problem:  # noqa: BLE001 - asserted below, in the test's own thread
            problems.append(problem)
        finally:
            connection.close()

    def claim(_: str) -> None:
        services.claim(HOST, SLOTS)

    hands = [threading.Thread(target=act, args=(seed,)) for seed in range(6)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert problems == []
    for task in Task.objects.all():
        assert_history(task)
        in_flight = task.runs.exclude(state=RunState.ENDED).count()
        assert in_flight == (1 if task.status == Status.RUNNING else 0)
        numbers = list(task.runs.order_by("number").values_list("number", flat=True))
        assert numbers == list(range(1, len(numbers) + 1))
        begun = task.transitions.filter(old_status=Status.PENDING, new_status=Status.RUNNING).count()
        assert begun == len(numbers)
    assert Run.objects.exclude(state=RunState.ENDED).count() <= SLOTS


def finish_one(draw: random.Random) -> Callable[[str], None]:
    def finish(task_id: str) -> None:
        run = Run.objects.filter(task_id=task_id).exclude(state=RunState.ENDED).first()
        if run is not None:
            end(run, draw.choice(ENDS))

    return finish
