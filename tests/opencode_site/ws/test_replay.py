"""Updates without a gap or a double: resumed from a cursor, and through the absence of the broker."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.client import Client, Message
from tests.support.stack import Stack

CHANNELS = ["task_status", "log_entries"]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(webs=2) as started:
        yield started


def subscribe(client: Client, *channels: str, **more: Any) -> Message:
    return client.request({"type": "subscribe_to_updates", "channels": list(channels), **more})


def next_updates(client: Client, kind: str, count: int) -> list[Message]:
    return [client.wait(lambda message: message["type"] == kind) for _ in range(count)]


def quiet(client: Client) -> list[str]:
    """The types of the updates that nobody has looked at, once everything sent so far has arrived."""
    seen = len(client.received)
    client.request({"type": "ping"})
    return [message["type"] for message in client.received[seen:] if message["type"] != "pong"]


def cursors(messages: list[Message]) -> list[int]:
    return [int(message["cursor"]) for message in messages]


def head(stack: Stack, table: str = "monitoring_logentry") -> str:
    ((newest,),) = stack.query(f"SELECT coalesce(max(id), 0) FROM {table}")
    return str(newest)


def test_sends_what_was_missed_and_goes_on_live(stack: Stack) -> None:
    with stack.connect() as first:
        known = subscribe(first, *CHANNELS)["cursors"]
        assert set(known) == set(CHANNELS)
        stack.record(3, agent="before")
        (*_, last) = next_updates(first, "log_entry", 3)
    stack.record(700, agent="missed")  # more than a page
    with stack.connect(1) as again:
        first_task = again.start("resumed-task")["task_id"]
        reply = subscribe(
            again,
            *CHANNELS,
            resume_from={"log_entries": last["cursor"], "task_status": known["task_status"]},
        )
        assert reply["cursors"] == {"log_entries": last["cursor"], "task_status": known["task_status"]}
        stack.record(5, agent="live")
        lines = next_updates(again, "log_entry", 705)
        again.rewind()
        (change,) = next_updates(again, "task_status_update", 1)
        assert change["task_id"] == first_task
        assert quiet(again) == []
    assert [line["log"]["agent"] for line in lines] == ["missed"] * 700 + ["live"] * 5
    assert cursors(lines) == list(range(int(last["cursor"]) + 1, int(last["cursor"]) + 706))


def test_filters_what_is_resumed(stack: Stack) -> None:
    start = head(stack)
    for level, agent in itertools.product(("info", "error"), ("a", "b")):
        stack.record(2, level=level, agent=agent)
    with stack.connect() as client:
        subscribe(
            client,
            "log_entries",
            filters={"log_entries": {"levels": ["error"], "agents": ["b", "c"]}},
            resume_from={"log_entries": start},
        )
        lines = next_updates(client, "log_entry", 2)
        assert {(line["log"]["level"], line["log"]["agent"]) for line in lines} == {("error", "b")}
        assert quiet(client) == []


AGENTS = """
from django.db import transaction
from django.utils import timezone
from monitoring.publish import flush
from tasks import services
from tasks.events import publish_agents, run_agent
services.report_host("h", slots=3, pid=1, started_at=timezone.now(), agents={})
runs = services.claim("h", 3)
assert {run.task_id for run in runs} == {"one", "two", "three"}
with transaction.atomic():
    publish_agents([run_agent(run, status="running") for run in runs])
flush()
"""


LEVELS, NAMES = ["error", "warn", "info"], ["one", "two", "three"]
Facts = tuple[str, ...]


def every_filter() -> Iterator[tuple[str, dict[str, list[str] | None], set[Facts]]]:
    """Every combination of no filter, one value, two values and none at all; with what passes."""

    def choices(values: list[str]) -> list[list[str] | None]:
        return [None, values[:1], values[:2], []]

    for level, name in itertools.product(choices(LEVELS), choices(NAMES)):
        passing = itertools.product(LEVELS if level is None else level, NAMES if name is None else name)
        yield "log_entries", {"levels": level, "agents": name}, set(passing)
    for name in choices(NAMES):
        alone: set[Facts] = {(one,) for one in (NAMES if name is None else name)}
        yield "task_status", {"task_ids": name}, alone
        yield "agent_status", {"agents": name}, alone


def test_sends_just_what_every_combination_of_filters_lets_pass(stack: Stack) -> None:
    """All of them at once, each on a connection of its own."""
    with ExitStack() as opened:
        listeners = []
        for number, (channel, filters, passing) in enumerate(every_filter()):
            client = opened.enter_context(stack.connect(number % 2))
            given = {name: values for name, values in filters.items() if values is not None}
            subscribe(client, channel, filters={channel: given})
            listeners.append((client, channel, passing))
        watchers = [opened.enter_context(stack.connect(number)) for number in range(2)]
        for watcher in watchers:
            subscribe(watcher, *CHANNELS, "agent_status")
        for name in NAMES:
            watchers[0].start(name, priority="high")
        for level, name in itertools.product(LEVELS, NAMES):
            stack.record(1, level=level, agent=name)
        stack.python(AGENTS)
        for watcher, (kind, count) in itertools.product(
            watchers, (("log_entry", 9), ("task_status_update", 6), ("agent_update", 3))
        ):
            watcher.rewind()
            next_updates(watcher, kind, count)
        for client, channel, passing in listeners:
            client.request({"type": "ping"})
            heard = [facts(message) for message in client.received if "cursor" in message]
            times = 2 if channel == "task_status" else 1  # submitted, and begun
            assert sorted(heard) == sorted([*passing] * times), channel


def facts(update: Message) -> Facts:
    """What the filters of its channel look at."""
    if update["type"] == "log_entry":
        return update["log"]["level"], update["log"]["agent"]
    return (update["task_id"] if update["type"] == "task_status_update" else update["agent"]["id"],)


def test_gives_each_update_once_when_an_older_subscription_has_had_it(stack: Stack) -> None:
    start = head(stack)
    stack.record(2, agent="both")
    with stack.connect() as client:
        subscribe(client, "log_entries", filters={"log_entries": {"agents": ["old"]}})
        stack.record(2, agent="old")
        next_updates(client, "log_entry", 2)
        for _ in range(2):
            subscribe(client, "log_entries", resume_from={"log_entries": start})
        client.rewind()
        next_updates(client, "log_entry", 4)
        assert quiet(client) == []
        heard = [message for message in client.received if message["type"] == "log_entry"]
    assert sorted(cursors(heard)) == list(range(int(start) + 1, int(start) + 5))


def test_loses_and_doubles_nothing_when_it_resumes_in_the_middle_of_a_flood(stack: Stack) -> None:
    start = head(stack)

    def write() -> None:
        for _ in range(60):
            stack.record(100)

    writer = threading.Thread(target=write)
    writer.start()
    received: list[int] = []
    try:
        while len(received) < 6000:
            with stack.connect(len(received) % 2) as client:
                known = str(received[-1]) if received else start
                subscribe(client, "log_entries", resume_from={"log_entries": known})
                # Leaves again and again, in the middle of what is missed and of what is live.
                received += cursors(next_updates(client, "log_entry", min(777, 6000 - len(received))))
                client.vanish()
    finally:
        writer.join()
    assert received == list(range(int(start) + 1, int(start) + 6001))


def test_tells_the_newest_state_of_each_agent(stack: Stack) -> None:
    publish = """
from django.db import transaction
from django.utils import timezone
from monitoring.publish import flush
from tasks.events import AgentRecord, publish_agents
def agent(name, progress):
    return AgentRecord.model_construct(
        id=name, status="running", type="opencode", task="t", progress=progress, start_time=timezone.now(),
        memory_usage=1, cpu_percent=0.5, working_dir="/", is_claude_desktop=False, process_type="opencode",
        host="h", timestamp=timezone.now())
for progress in (1, 2, 3):
    with transaction.atomic():
        publish_agents([agent("a", progress), agent("b", progress)])
with transaction.atomic():
    publish_agents([agent("a", 4)])
flush()
"""
    with stack.connect() as client:
        known = subscribe(client, "agent_status")["cursors"]["agent_status"]
        stack.python(publish)
        live = next_updates(client, "agent_update", 7)
        assert [update["agent"]["progress"] for update in live] == [1, 1, 2, 2, 3, 3, 4]
    with stack.connect() as client:
        subscribe(client, "agent_status", resume_from={"agent_status": known})
        told = next_updates(client, "agent_update", 2)
        assert quiet(client) == []
    assert [(one["agent"]["id"], one["agent"]["progress"]) for one in told] == [("b", 3), ("a", 4)]
    assert told == [live[5], live[6]]


@pytest.mark.parametrize("cursor", ["", "-1", "12x", "٣", "9" * 19, 7])
def test_refuses_what_is_no_cursor(stack: Stack, cursor: Any) -> None:
    with stack.connect() as client:
        error = subscribe(client, "log_entries", resume_from={"log_entries": cursor})
        assert (error["code"], error["details"]["field"]) == (
            "INVALID_FIELD_VALUE",
            "resume_from.log_entries",
        )
        stack.record(1)
        assert quiet(client) == []


def test_refuses_a_cursor_from_which_nothing_can_be_resumed_and_says_what_to_do(stack: Stack) -> None:
    stack.record(1)
    newest = head(stack)
    stack.python(
        "from monitoring.logbook import LOG_STREAM\n"
        "from monitoring.models import LogEntry\n"
        f"LogEntry.objects.filter(pk__lte={newest}).delete(); LOG_STREAM.note_pruned({newest})"
    )
    stack.record(1)
    with stack.connect() as client:
        for cursor in (str(int(newest) - 1), str(int(newest) + 1000)):
            error = subscribe(client, "log_entries", resume_from={"log_entries": cursor})
            assert (error["code"], error["details"]["value"]) == ("INVALID_FIELD_VALUE", cursor)
            assert "request_log_entries" in error["message"]
        error = subscribe(client, "task_status", resume_from={"log_entries": newest})
        assert error["details"]["field"] == "resume_from.log_entries"
        subscribe(client, "log_entries", resume_from={"log_entries": newest})
        assert len(next_updates(client, "log_entry", 1)) == 1


def test_misses_nothing_while_the_broker_is_away() -> None:
    with Stack() as stack, stack.connect() as client, stack.connect() as late:
        subscribe(client, *CHANNELS)
        stack.kill_broker()
        client.start("while-away")
        stack.record(3)
        assert next_updates(client, "task_status_update", 1)[0]["task_id"] == "while-away"
        client.rewind()
        lines = next_updates(client, "log_entry", 3)
        # Without a broker one can subscribe as well.
        assert subscribe(late, "log_entries")["type"] == "subscription_confirmed"
        stack.record(1)
        assert len(next_updates(late, "log_entry", 1)) == 1
        stack.start_broker()
        stack.record(2)
        assert cursors(lines + next_updates(client, "log_entry", 3)) == [1, 2, 3, 4, 5, 6]
        assert len(next_updates(late, "log_entry", 2)) == 2
        assert quiet(client) == []


def test_survives_a_restart_of_the_server() -> None:
    with Stack() as stack:
        with stack.connect() as client:
            subscribe(client, "log_entries")
            stack.record(2)
            known = next_updates(client, "log_entry", 1)[0]["cursor"]
        stack.kill_web()
        stack.restart_web()
        with stack.connect() as client:
            subscribe(client, "log_entries", resume_from={"log_entries": known})
            (line,) = next_updates(client, "log_entry", 1)
            assert int(line["cursor"]) == int(known) + 1


def test_waits_for_a_slow_reader_with_what_it_has_missed(stack: Stack) -> None:
    start = head(stack)
    stack.record(20_000, size=1000)
    before = stack.memory()
    with stack.socket() as slow:
        slow.send(
            json.dumps(
                {
                    "type": "subscribe_to_updates",
                    "channels": ["log_entries"],
                    "resume_from": {"log_entries": start},
                }
            )
        )
        numbers = [
            int(message["cursor"])
            for message in (json.loads(slow.recv(timeout=30)) for _ in range(20_002))
            if message["type"] == "log_entry"
        ]
    assert numbers == list(range(int(start) + 1, int(start) + 20_001))
    assert stack.memory() - before < 16_000_000
