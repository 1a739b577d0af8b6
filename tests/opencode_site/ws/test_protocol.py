"""The protocol from outside: a real client, a really started server, field by field as the spec says."""

from __future__ import annotations

import json
import re
import socket
import uuid
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from opencode_site import __version__
from tests.support.client import Client, Message
from tests.support.server import Server

TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
QUICK = json.dumps({"lines": 2})
LONG = json.dumps({"lines": 100_000, "pause": 0.2})


def new_id() -> str:
    return f"task-{uuid.uuid4().hex[:10]}"


def assert_error(message: Message, code: str, **details: Any) -> None:
    """The one shape of an error, and that its details hold what is named."""
    assert message["type"] == "error"
    assert message["code"] == code, message
    assert isinstance(message["message"], str)
    assert message["message"]
    assert isinstance(message["details"], dict)
    assert TIME.match(message["timestamp"])
    for name, value in details.items():
        assert message["details"][name] == value, message


def task(**changes: Any) -> dict[str, Any]:
    fields = {"id": new_id(), "type": "testing", "priority": "high", "description": QUICK}
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def test_greets_with_the_packages_version_and_nothing_else(server: Server) -> None:
    with server.connect() as client:
        (hello,) = client.received
        assert hello["server_version"] == __version__
        assert TIME.match(hello["timestamp"])
        assert client.request({"type": "ping"})["type"] == "pong"
        assert len(client.received) == 2


@pytest.mark.parametrize("stamp", [1642152600000, 0, -5, 1642152600000.25, 2**53])
def test_echoes_a_pings_timestamp_as_it_is(client: Client, stamp: float) -> None:
    pong = client.request({"type": "ping", "timestamp": stamp})
    assert (pong["type"], pong["timestamp"], type(pong["timestamp"])) == ("pong", stamp, type(stamp))
    assert TIME.match(pong["server_time"])


def test_answers_a_ping_without_timestamp_with_its_own(client: Client) -> None:
    assert client.request({"type": "ping"})["timestamp"] > 1_700_000_000_000


def test_answers_in_order_what_takes_a_while_and_what_does_not(client: Client) -> None:
    requests = [{"type": "ping"}, {"type": "list_tasks"}, {"type": "ping"}, {"type": "nonsense"}] * 25
    for number, request in enumerate(requests):
        client.send({**request, "request_id": str(number)})
    client.wait(lambda reply: reply.get("request_id") == str(len(requests) - 1))
    answered = [reply["request_id"] for reply in client.received if "request_id" in reply]
    assert answered == [str(number) for number in range(len(requests))]


@pytest.mark.parametrize(
    "frame",
    ["", "{", "nonsense", "[1]", '"text"', "1", "null", '{"type": "ping", "timestamp": NaN}', "[" * 5000],
)
def test_answers_what_is_no_json_object_and_stays_open(client: Client, frame: str) -> None:
    client.send_text(frame)
    assert_error(client.wait(lambda message: message["type"] == "error"), "INVALID_JSON")
    assert client.request({"type": "ping"})["type"] == "pong"


def test_answers_a_binary_frame_and_stays_open(client: Client) -> None:
    client.send_text(b'{"type": "ping"}')
    assert_error(client.wait(lambda message: message["type"] == "error"), "INVALID_JSON")
    assert client.request({"type": "ping"})["type"] == "pong"


def test_names_what_is_wrong_with_the_type(client: Client) -> None:
    assert_error(client.request({}), "MISSING_REQUIRED_FIELD", field="type")
    assert_error(client.request({"type": "fly"}), "UNKNOWN_MESSAGE_TYPE", value="fly")
    assert_error(client.request({"type": 7}), "INVALID_FIELD_VALUE", field="type", value=7)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (("id", "type", "description"), "id, type, description"),
        (("description",), "description"),
        (("priority", "id"), "id, priority"),
        (("id", "type", "description", "priority"), "id, type, description, priority"),
    ],
)
def test_names_the_missing_fields_of_a_task_in_order(
    client: Client, missing: tuple[str, ...], named: str
) -> None:
    data = task(**dict.fromkeys(missing, ...))
    answer = client.request({"type": "start_task", "task": data})
    assert_error(answer, "INVALID_TASK_DATA")
    assert answer["message"] == f"Task data is missing required fields: {named}"


def test_names_a_missing_field_elsewhere(client: Client) -> None:
    assert_error(client.request({"type": "start_task"}), "MISSING_REQUIRED_FIELD", field="task")
    assert_error(client.request({"type": "cancel_task"}), "MISSING_REQUIRED_FIELD", field="task_id")
    answer = client.request({"type": "subscribe_to_updates"})
    assert_error(answer, "MISSING_REQUIRED_FIELD", field="channels")


def test_names_the_valid_priorities_as_the_spec_does(client: Client) -> None:
    answer = client.request({"type": "start_task", "task": task(priority="urgent")})
    expected = ["low", "medium", "high"]
    assert_error(answer, "INVALID_FIELD_VALUE", field="task.priority", value="urgent", expected=expected)
    assert answer["message"] == "Invalid priority value: 'urgent'. Valid values are: low, medium, high"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "-x"),
        ("id", "a b"),
        ("id", "a\n"),
        ("id", "x" * 129),
        ("id", 5),
        ("type", "Testing"),
        ("type", "a" * 65),
        ("priority", 1),
        ("description", ""),
        ("description", "x" * 100_001),
        ("description", "a\0b"),
        ("timeout", 999),
        ("timeout", 7 * 86_400_000 + 1),
        ("timeout", "60000"),
        ("timeout", True),
        ("timeout", 1500.5),
        ("files_pattern", "/etc/*"),
        ("files_pattern", "../*"),
        ("files_pattern", "a/../../b"),
        ("files_pattern", "x" * 1001),
        ("dependencies", "task_456"),
        ("dependencies", [1]),
        ("max_retries", -1),
        ("agent", "bash"),
    ],
)
def test_refuses_a_wrong_value_with_its_path(client: Client, field: str, value: Any) -> None:
    data = task(**{field: value})
    answer = client.request({"type": "start_task", "task": data})
    assert_error(answer, "INVALID_FIELD_VALUE")
    assert answer["details"]["field"].startswith(f"task.{field}")
    assert answer["details"]["expected"]
    if isinstance(data["id"], str) and field != "id":
        assert_error(client.request({"type": "get_task_status", "task_id": data["id"]}), "TASK_NOT_FOUND")


def test_refuses_working_directories_that_it_must_not_use(client: Client, server: Server) -> None:
    outside = client.request({"type": "start_task", "task": task(working_dir="/")})
    assert_error(outside, "PERMISSION_DENIED", field="task.working_dir")
    missing = client.request({"type": "start_task", "task": task(working_dir=str(server.project_dir / "no"))})
    assert_error(missing, "FILESYSTEM_ERROR", field="task.working_dir")


def test_starts_a_task_and_shows_it_as_the_spec_does(client: Client) -> None:
    data = task(files_pattern="**/*.test.js", timeout=3_600_000)
    reply = client.request({"type": "start_task", "task": data})
    assert (reply["type"], reply["task_id"]) == ("task_started", data["id"])
    shown = reply["task"]
    for field in ("id", "type", "priority", "description"):
        assert shown[field] == data[field]
    assert (shown["status"], shown["progress"]) == ("pending", 0)
    assert TIME.match(shown["created_at"])
    detail = client.task(data["id"])
    assert (detail["dependencies"], detail["files_pattern"]) == ([], "**/*.test.js")
    assert isinstance(detail["runtime_status"], str)
    client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
    done = client.until_status(data["id"], "completed")
    assert TIME.match(done["started_at"])
    assert TIME.match(done["completed_at"])
    assert "error" not in done


def test_tells_that_an_id_is_taken_and_that_one_is_unknown(client: Client) -> None:
    data = task()
    client.request({"type": "start_task", "task": data})
    assert_error(
        client.request({"type": "start_task", "task": data}), "TASK_ALREADY_EXISTS", task_id=data["id"]
    )
    for kind in ("get_task_status", "cancel_task", "retry_task"):
        answer = client.request({"type": kind, "task_id": "nonexistent_task"})
        assert_error(answer, "TASK_NOT_FOUND", task_id="nonexistent_task")
        assert answer["message"] == "Task with ID 'nonexistent_task' not found"


def test_refuses_dependencies_that_cannot_be(client: Client) -> None:
    unknown = client.request({"type": "start_task", "task": task(dependencies=["nobody"])})
    assert_error(unknown, "TASK_NOT_FOUND", task_id="nobody")
    circle = client.request({"type": "start_task", "task": task(id="selfish", dependencies=["selfish"])})
    assert_error(circle, "INVALID_FIELD_VALUE", field="task.dependencies")


def test_cancels_a_waiting_task_and_says_why_its_dependent_is_blocked(client: Client) -> None:
    first, second, third = task(description=LONG), task(), task()
    client.request({"type": "start_task", "task": first})
    client.request({"type": "start_task", "task": second | {"dependencies": [first["id"]]}})
    client.request({"type": "start_task", "task": third | {"dependencies": [second["id"]]}})
    assert client.task(second["id"])["runtime_status"] == "waiting"
    cancelled = client.request({"type": "cancel_task", "task_id": second["id"]})
    assert (cancelled["type"], cancelled["task_id"]) == ("task_cancelled", second["id"])
    assert TIME.match(cancelled["timestamp"])
    shown = client.task(third["id"])
    assert shown["runtime_status"] == "blocked"
    assert second["id"] in shown["runtime_detail"]
    again = client.request({"type": "retry_task", "task_id": second["id"]})
    assert (again["type"], again["task_id"], again["retry_count"]) == ("task_retried", second["id"], 1)
    assert TIME.match(again["timestamp"])
    assert client.task(third["id"])["runtime_status"] == "waiting"
    running = client.request({"type": "cancel_task", "task_id": first["id"]})
    assert (running["type"], running["status"]) == ("task_cancelled", "cancelled")
    finished = client.request({"type": "cancel_task", "task_id": first["id"]})
    assert_error(finished, "INVALID_FIELD_VALUE", field="status", value="cancelled")


def test_lists_newest_first_with_filters_and_both_counts(client: Client) -> None:
    kind = f"kind-{uuid.uuid4().hex[:8]}"
    ids = [new_id() for _ in range(3)]
    for number, task_id in enumerate(ids):
        priority = "low" if number else "high"
        client.request({"type": "start_task", "task": task(id=task_id, type=kind, priority=priority)})
    page = client.request({"type": "list_tasks", "filter": {"type": kind}, "limit": 2})
    assert [shown["id"] for shown in page["tasks"]] == [ids[2], ids[1]]
    assert page["filtered_count"] == 3
    assert page["total_count"] >= 3
    rest = client.request({"type": "list_tasks", "filter": {"type": kind}, "limit": 2, "offset": 2})
    assert [shown["id"] for shown in rest["tasks"]] == [ids[0]]
    high = client.request({"type": "list_tasks", "filter": {"type": kind, "priority": "high"}})
    assert [shown["id"] for shown in high["tasks"]] == [ids[0]]
    for bad in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"filter": {"status": "lost"}}, {"filter": 5}):
        assert_error(client.request({"type": "list_tasks", **bad}), "INVALID_FIELD_VALUE")


def test_filters_log_entries_by_level_agent_and_time(client: Client) -> None:
    data = task(description=json.dumps({"lines": 3}))
    client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
    client.request({"type": "start_task", "task": data})
    client.until_status(data["id"], "completed")
    reply = client.request({"type": "request_log_entries", "filter": {"agent": data["id"], "level": "info"}})
    assert reply["type"] == "log_entries"
    page = reply["data"]
    said = [entry["message"] for entry in page["entries"]]
    assert said == ["line 0", "line 1", "line 2", "Task completed successfully"]
    assert page["filtered_count"] == 4
    assert page["total_count"] >= 4
    assert TIME.match(page["timestamp"])
    for entry in page["entries"]:
        assert TIME.match(entry["time"])
        assert (entry["level"], entry["agent"], type(entry["details"])) == ("info", data["id"], dict)
    middle = page["entries"][1]["time"]
    until = client.logs(data["id"], level="info", time_range={"end": middle})
    after = client.logs(data["id"], level="info", time_range={"start": middle})
    assert {entry["id"] for entry in until} | {entry["id"] for entry in after} == {
        entry["id"] for entry in page["entries"]
    }
    assert (
        client.logs(data["id"], time_range={"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"})
        == []
    )
    newest = client.request({"type": "request_log_entries", "limit": 1, "filter": {"agent": data["id"]}})
    assert newest["data"]["entries"][0]["message"] == "Task completed successfully"
    bad = {"type": "request_log_entries", "filter": {"time_range": {"start": "yesterday"}}}
    assert_error(client.request(bad), "INVALID_FIELD_VALUE", field="filter.time_range.start")


def test_sends_updates_to_subscribers_only_and_each_once(server: Server) -> None:
    with server.connect() as asked, server.connect() as silent:
        wanted, other = task(), task()
        confirmed = asked.request(
            {
                "type": "subscribe_to_updates",
                "channels": ["task_status", "log_entries"],
                "filters": {
                    "task_status": {"task_ids": [wanted["id"]]},
                    "log_entries": {"agents": [wanted["id"]]},
                },
            }
        )
        assert confirmed["type"] == "subscription_confirmed"
        assert confirmed["channels"] == ["task_status", "log_entries"]
        assert TIME.match(confirmed["timestamp"])
        overlapping = asked.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        assert overlapping["subscription_id"] != confirmed["subscription_id"]
        for data in (other, wanted):
            asked.request({"type": "start_task", "task": data})
        asked.until_status(wanted["id"], "completed")
        asked.until_status(other["id"], "completed")
        asked.rewind()
        ours = (wanted["id"], other["id"])
        updates = [m for m in asked.received if m["type"] == "task_status_update" and m["task_id"] in ours]
        for data in (wanted, other):
            told = [(m["old_status"], m["new_status"]) for m in updates if m["task_id"] == data["id"]]
            assert told == [("pending", "pending"), ("pending", "running"), ("running", "completed")]
        assert all(TIME.match(message["timestamp"]) for message in updates)
        assert [m["progress"] for m in updates if m["new_status"] == "completed"] == [100, 100]
        logs = [message["log"] for message in asked.received if message["type"] == "log_entry"]
        assert {log["agent"] for log in logs} == {wanted["id"]}
        assert [log["id"] for log in logs] == [log["id"] for log in asked.logs(wanted["id"])]
        assert silent.request({"type": "ping"})["type"] == "pong"
        assert {message["type"] for message in silent.received} == {"connection_established", "pong"}


def test_filters_log_entries_by_level(client: Client) -> None:
    data = task(description=json.dumps({"lines": 1, "exit": 3}))
    filters = {"log_entries": {"levels": ["error", "warn"], "agents": [data["id"]]}}
    client.request(
        {"type": "subscribe_to_updates", "channels": ["log_entries", "task_status"], "filters": filters}
    )
    client.request({"type": "start_task", "task": data})
    client.until_status(data["id"], "failed")
    client.rewind()
    assert {m["log"]["level"] for m in client.received if m["type"] == "log_entry"} == {"error"}


def test_stops_when_unsubscribed(client: Client) -> None:
    first = client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
    client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
    left = client.request(
        {
            "type": "unsubscribe_from_updates",
            "channels": ["log_entries"],
            "subscription_id": first["subscription_id"],
        }
    )
    assert (left["type"], left["channels"]) == ("unsubscription_confirmed", ["log_entries"])
    assert left["subscription_id"] == first["subscription_id"]
    # Until then it was told of what the tasks of other tests say on the same server.
    client.received.clear()
    client.rewind()
    data = task()
    client.request({"type": "start_task", "task": data})
    client.until_status(data["id"], "completed")
    client.rewind()
    assert not any(message["type"] == "log_entry" for message in client.received)
    client.request({"type": "unsubscribe_from_updates", "channels": ["task_status"]})
    client.received.clear()
    client.rewind()
    client.request({"type": "start_task", "task": task()})
    assert client.request({"type": "ping"})["type"] == "pong"
    assert not any(message["type"] == "task_status_update" for message in client.received)
    unknown = {"type": "unsubscribe_from_updates", "channels": ["task_status"], "subscription_id": "sub_0"}
    assert_error(client.request(unknown), "INVALID_FIELD_VALUE", field="subscription_id")


def test_refuses_unknown_channels_and_filters(client: Client) -> None:
    requests: tuple[dict[str, Any], ...] = (
        {"channels": ["everything"]},
        {"channels": []},
        {"channels": "task_status"},
        {"channels": ["log_entries"], "filters": {"log_entries": {"levels": ["loud"]}}},
        {"channels": ["task_status"], "filters": {"task_status": {"task_ids": [1]}}},
    )
    for request in requests:
        answer = client.request({"type": "subscribe_to_updates", **request})
        assert_error(answer, "INVALID_FIELD_VALUE")


def test_carries_the_request_id_in_replies_and_errors(client: Client) -> None:
    client.send({"type": "ping", "request_id": "a"})
    client.send({"type": "fly", "request_id": "b"})
    client.send({"type": "cancel_task", "task_id": "nobody", "request_id": "c"})
    answers = [client.wait(lambda message: "request_id" in message) for _ in range(3)]
    assert [answer["request_id"] for answer in answers] == ["a", "b", "c"]
    assert [answer["type"] for answer in answers] == ["pong", "error", "error"]
    client.send({"type": "ping"})
    assert "request_id" not in client.wait(lambda message: message["type"] == "pong")
    assert_error(
        client.request_raw({"type": "ping", "request_id": 5}), "INVALID_FIELD_VALUE", field="request_id"
    )


HANDSHAKES = [
    ({}, True),
    ({"Origin": "http://127.0.0.1:{port}"}, True),
    ({"Origin": "http://localhost:{port}", "Host": "localhost:{port}"}, True),
    ({"Origin": "http://localhost:3000"}, False),
    ({"Origin": "http://127.0.0.1"}, False),
    ({"Origin": "https://127.0.0.1:{port}"}, False),
    ({"Origin": "http://127.0.0.1:{port}.evil.test"}, False),
    ({"Origin": "http://evil.test"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": "file://"}, False),
    ({"Origin": "chrome-extension://abcdef"}, False),
    ({"Host": "evil.test:{port}"}, False),
    ({"Host": "evil.test:{port}", "Origin": "http://evil.test:{port}"}, False),
    ({"Host": "127.0.0.1.evil.test"}, False),
]


@pytest.mark.parametrize(("headers", "let_in"), HANDSHAKES)
def test_lets_in_only_clients_without_origin_and_its_own_page(
    server: Server, headers: dict[str, str], let_in: bool
) -> None:
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    host = sent.pop("Host", None)
    url = server.url if host is None else f"ws://{host}/ws"
    address = socket.create_connection(("127.0.0.1", server.port))
    if let_in:
        with connect(url, additional_headers=sent, sock=address) as opened:
            assert json.loads(opened.recv(timeout=10))["type"] == "connection_established"
    else:
        with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=sent, sock=address):
            pass
        # What is no Origin at all is refused by the WebSocket library before it comes to us.
        assert refused.value.response.status_code in (400, 403)


def test_serves_the_protocol_at_its_path_only(server: Server) -> None:
    with pytest.raises(InvalidStatus), connect(server.url + "x"):
        pass
