"""Tasks that come at once are stored together, and each is answered by itself."""

from __future__ import annotations

import asyncio

import pytest

from opencode_site.ws.submissions import Submissions
from tasks.models import Task, Transition
from tasks.services import NewTask


def new(task_id: str, *needs: str, description: str = "d") -> NewTask:
    return NewTask(id=task_id, type="testing", description=description, dependencies=needs)


@pytest.mark.django_db(transaction=True)
def test_answers_each_by_itself_and_stores_nothing_for_one_who_has_gone() -> None:
    async def submit_at_once() -> list[Task | BaseException]:
        submissions = Submissions()
        asked = [new("a"), new("b", "a"), new("a"), new("c", "missing"), new("d"), new("gone"), new("e")]
        waiting = [asyncio.ensure_future(submissions.submit(each)) for each in asked]
        await asyncio.sleep(0)
        waiting[5].cancel()
        first = await asyncio.gather(*waiting, return_exceptions=True)
        return [*first, await submissions.submit(new("alone"))]

    results = asyncio.run(submit_at_once())
    assert [getattr(result, "pk", type(result).__name__) for result in results] == [
        *("a", "b", "TaskAlreadyExists", "TaskNotFound", "d", "CancelledError", "e", "alone")
    ]
    stored = ["a", "b", "d", "e", "alone"]
    assert list(Transition.objects.values_list("task_id", flat=True)) == stored
    assert set(Task.objects.values_list("pk", flat=True)) == set(stored)


@pytest.mark.django_db(transaction=True)
def test_lets_nobody_suffer_for_what_the_database_cannot_take() -> None:
    async def submit_at_once() -> list[Task | BaseException]:
        submissions = Submissions()
        asked = [new("a"), new("b", description="\ud800"), new("c", "a")]
        return await asyncio.gather(*(submissions.submit(each) for each in asked), return_exceptions=True)

    a, b, c = asyncio.run(submit_at_once())
    assert isinstance(b, UnicodeEncodeError)
    assert [task.pk for task in (a, c) if isinstance(task, Task)] == ["a", "c"]
    assert set(Task.objects.values_list("pk", flat=True)) == {"a", "c"}
