"""What opencode wrote becomes log lines and facts: recorded streams, and whatever else a pipe may carry."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.agents.base import Exit, LogLine, Report
from tasks.agents.opencode import OpenCode

RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "opencode"
AGENT = OpenCode()


def replay(name: str) -> tuple[Report, list[LogLine]]:
    """Everything that a recorded run wrote: stdout, then stderr."""
    report = Report()
    lines: list[LogLine] = []
    for suffix, read in ((".jsonl", AGENT.read_stdout), (".stderr", AGENT.read_stderr)):
        path = RECORDED / f"{name}{suffix}"
        for line in path.read_text().splitlines() if path.exists() else []:
            lines += read(line, report)
    return report, lines


def said(lines: list[LogLine]) -> list[tuple[str, str]]:
    return [(line.level, line.message) for line in lines if line.level != "debug"]


def event(kind: str, part: Any = None, **more: Any) -> str:
    return json.dumps({"type": kind, "timestamp": 1795399926319, "sessionID": "ses_1", "part": part, **more})


def tool(name: str, **state: Any) -> str:
    return event("tool_use", {"tool": name, "state": {"status": "completed", "input": {}, **state}})


def todos(*states: str) -> str:
    return tool("todowrite", metadata={"todos": [{"content": "x", "status": state} for state in states]})


# --- Recorded streams ---------------------------------------------------------------------------------------


def test_tells_a_successful_run() -> None:
    report, lines = replay("success")

    assert said(lines) == [("info", "write: /home/dev/project/hello.txt"), ("info", "Done: wrote hello.txt")]
    assert report == Report(
        session_id="ses_df9d34eb1ffefoBdYy023xs6yv",
        events=6,
        first_event=True,
        finished=True,
        last_reason="stop",
        tokens_input=1600,
        tokens_output=100,
        tokens_cache_read=400,
        cost="0.0044",
        last_message="Done: wrote hello.txt",
    )


def test_takes_the_time_from_the_stream() -> None:
    _, lines = replay("success")

    assert lines[0].time == datetime(2026, 11, 23, 2, 12, 6, 319000, tzinfo=UTC)


def test_tells_what_a_tool_did() -> None:
    _, lines = replay("bash")

    assert lines[0].message == "bash: echo hi from bash"
    assert lines[0].details == {
        "tool": "bash",
        "status": "completed",
        "input": {"command": "echo hi from bash", "description": "Run bash"},
        "output": "hi from bash\n",
        "exit": 0,
        "duration_ms": 147,
    }


def test_tells_what_a_step_cost() -> None:
    _, lines = replay("success")

    step = lines[1]
    assert (step.level, step.message) == (
        "debug",
        "step finished (tool-calls): 800 tokens in, 50 out, $0.0022",
    )
    assert step.details["cost"] == "0.0022"
    assert step.details["tokens_cache_read"] == 200


def test_warns_of_a_command_that_failed() -> None:
    _, lines = replay("bashfail")

    assert said(lines)[0] == ("warn", "bash: echo oops >&2; exit 3 (exit code 3)")
    assert lines[0].details["exit"] == 3


def test_warns_of_a_tool_that_failed() -> None:
    _, lines = replay("badtool")

    path = "/home/dev/project/does-not-exist.txt"
    assert said(lines)[0] == ("warn", f"read: {path} failed: File not found: {path}")


def test_shows_the_todo_list_as_progress() -> None:
    report, lines = replay("todo")

    assert [line.message for line in lines if line.message.startswith("todos")] == [
        "todos: 0 of 3 done",
        "todos: 1 of 3 done",
        "todos: 3 of 3 done",
    ]
    assert report.progress == 99
    assert report.cost == "0.0132"


def test_keeps_the_thoughts_for_those_who_look_closer() -> None:
    _, lines = replay("think2")

    assert (lines[0].level, lines[0].message) == ("debug", "Let me think about this.")


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("err401", 401, "Incorrect API key provided"),
        ("err429", 429, "Rate limit reached"),
        ("err500", 500, "Stub server error"),
    ],
)
def test_reports_the_providers_refusal(name: str, status: int, message: str) -> None:
    report, lines = replay(name)

    assert said(lines) == [("error", f"{message} (HTTP {status})")]
    assert (report.error_name, report.error_status, report.error_message) == ("APIError", status, message)
    assert not report.finished


def test_keeps_the_headers_of_an_answer_to_itself() -> None:
    _, lines = replay("err401")

    assert set(lines[0].details) == {"name", "status", "retryable", "url", "response"}


def test_reports_a_rejected_permission() -> None:
    report, lines = replay("outside")

    assert said(lines)[1] == (
        "warn",
        "permission requested: external_directory (/home/dev/*); auto-rejecting",
    )
    assert report.permission_rejected


def test_warns_of_an_answer_that_was_cut_off() -> None:
    report, lines = replay("length")

    assert said(lines)[-1] == ("warn", "The model's answer was cut off at its output limit")
    assert (report.finished, report.last_reason) == (False, "length")


def test_tells_a_note_and_an_error_on_stderr_apart() -> None:
    note = 'agent "nosuch" not found. Falling back to default agent'

    assert said(replay("noagent")[1])[-1] == ("warn", note)
    assert said(replay("nodir")[1]) == [("error", "Error: Failed to change directory to /nonexistent")]


def test_finds_the_cause_of_an_unknown_error_in_the_log() -> None:
    report, lines = replay("unknown-model")

    assert said(lines) == [
        ("error", "Unexpected server error. Check server logs for details."),
        ("error", "failed: ProviderModelNotFoundError: Model not found: stub/nosuch."),
    ]
    assert report.stderr_tail == "failed: ProviderModelNotFoundError: Model not found: stub/nosuch."
    assert "SessionPrompt.getModel" in lines[1].details["cause"]


def test_warns_of_every_attempt_that_is_repeated() -> None:
    report, lines = replay("retries")

    warnings = [line for line in lines if line.level == "warn"]
    assert {line.message for line in warnings} == {"stream error: AI_APICallError: Rate limit reached"}
    assert len(warnings) == 6
    assert warnings[0].time == datetime(2026, 11, 23, 5, 45, 54, 445000, tzinfo=UTC)
    assert report.first_event


def test_takes_a_repeated_attempt_as_a_sign_of_life() -> None:
    report = Report()
    AGENT.read_stderr((RECORDED / "unreachable.stderr").read_text().splitlines()[0], report)

    assert report.first_event
    assert report.events == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.jsonl")))
def test_goes_on_from_a_stored_report(name: str) -> None:
    whole, _ = replay(name)
    report = Report()
    for suffix, read in ((".jsonl", AGENT.read_stdout), (".stderr", AGENT.read_stderr)):
        path = RECORDED / f"{name}{suffix}"
        for line in path.read_text().splitlines() if path.exists() else []:
            report = Report.from_json(json.loads(json.dumps(report.to_json())))
            read(line, report)

    assert report == whole


# --- Single lines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "message", "progress"),
    [
        (["pending", "pending"], "todos: 0 of 2 done", 0),
        (["completed", "in_progress", "pending"], "todos: 1 of 3 done", 33),
        (["completed", "cancelled", "pending"], "todos: 1 of 2 done", 50),
        (["completed", "completed"], "todos: 2 of 2 done", 99),
        (["cancelled"], "todos: none", None),
        ([], "todos: none", None),
    ],
)
def test_counts_the_todos_that_are_wanted(states: list[str], message: str, progress: int | None) -> None:
    report = Report()
    lines = AGENT.read_stdout(todos(*states), report)

    assert said(lines) == [("info", message)]
    assert report.progress == progress


def test_has_no_progress_without_todos() -> None:
    assert replay("bash")[0].progress is None


def test_does_not_count_todos_that_could_not_be_written() -> None:
    report = Report()
    line = tool("todowrite", status="error", error="no", input={"todos": [{"status": "completed"}]})
    AGENT.read_stdout(line, report)

    assert report.progress is None


@pytest.mark.parametrize(
    ("given", "title", "message"),
    [
        ({"command": "make test\nmake lint"}, "x", "any: make test …"),
        ({"filePath": "/a/b.py", "content": "…"}, "b.py", "any: /a/b.py"),
        ({"pattern": "TODO", "path": "/a"}, "TODO", "any: TODO"),
        ({"url": "http://x/"}, "", "any: http://x/"),
        ({"command": 7}, "a title", "any: a title"),
        ({}, "", "any"),
        (None, None, "any"),
    ],
)
def test_sums_a_tool_up_in_one_line(given: Any, title: Any, message: str) -> None:
    assert AGENT.read_stdout(tool("any", input=given, title=title), Report())[0].message == message


def test_is_not_finished_while_it_goes_on_after_stop() -> None:
    report = Report()
    AGENT.read_stdout(event("step_finish", {"reason": "stop"}), report)
    assert report.finished
    AGENT.read_stdout(event("step_start", {}), report)

    assert not report.finished


def test_keeps_an_event_of_an_unknown_type() -> None:
    lines = AGENT.read_stdout(event("brand_new", {"a": 1}), Report())

    assert (lines[0].level, lines[0].message) == ("debug", "event 'brand_new'")
    assert lines[0].details["event"]["part"] == {"a": 1}


@pytest.mark.parametrize(
    "text", ["plain words", "[1, 2]", '{"no": "type"}', '{"type": 3}', "{broken", "null"]
)
def test_keeps_what_is_no_event_word_for_word(text: str) -> None:
    report = Report()

    assert said(AGENT.read_stdout(f"\x1b[1m{text}\x1b[0m", report)) == [("info", text)]
    assert report == Report()


@pytest.mark.parametrize("line", ["", "  ", "\x1b[0m"])
def test_has_nothing_to_say_about_an_empty_line(line: str) -> None:
    assert AGENT.read_stdout(line, Report()) == []
    assert AGENT.read_stderr(line, Report()) == []


@pytest.mark.parametrize(
    "line",
    [
        "[" * 200_000,
        '{"type":' * 50_000,
        '{"type":"step_finish","part":{"cost":' + "9" * 5_000 + "}}",
        '{"type":"step_finish","part":{"cost":NaN,"tokens":{"input":-1,"output":1e999,"reasoning":true}}}',
        '{"type":"text","timestamp":1e300,"part":{"text":"x"}}',
        '{"type":"text","timestamp":-5,"sessionID":[],"part":[]}',
        '{"type":"error","error":"flat"}',
        '{"type":"error","error":{"name":5,"data":{"message":{},"statusCode":"401","metadata":[]}}}',
        '{"type":"tool_use","part":{"tool":{},"state":{"time":{"start":"x"},"metadata":{"exit":-9,"todos":{}}}}}',
        '{"type":"tool_use","part":{"tool":"todowrite","state":{"status":"completed","metadata":{"todos":[1,null]}}}}',
        '{"type":"text","part":{"text":"\\ud800\\u0000"}}',
    ],
)
def test_survives_a_line_that_nobody_should_write(line: str) -> None:
    report = Report()
    lines = AGENT.read_stdout(line, report)

    check_storable(report, lines)
    assert report.cost == "0"


def test_believes_a_flat_error() -> None:
    report = Report()
    AGENT.read_stdout(event("error", error={"name": "BadRequest", "message": "no such session"}), report)

    assert (report.error_name, report.error_message) == ("BadRequest", "no such session")


def test_bounds_what_a_huge_line_leaves_behind() -> None:
    report = Report()
    lines = AGENT.read_stdout(tool("bash", input={"command": "c" * 10**6}, output="o" * 10**6), report)
    lines += AGENT.read_stdout(event("text", {"text": "t" * 10**6}), report)
    lines += AGENT.read_stderr("e" * 10**6, report)

    assert all(line.details.get("clipped") for line in lines)
    assert len(json.dumps([line.details for line in lines])) < 200_000
    assert len(json.dumps(report.to_json())) < 10_000


# --- Anything at all ----------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(
            "type",
            "part",
            "state",
            "status",
            "completed",
            "error",
            "tool",
            "todowrite",
            "tool_use",
            "text",
            "stop",
        ),
        *(
            "step_finish",
            "step_start",
            "reasoning",
            "tokens",
            "cache",
            "read",
            "input",
            "output",
            "cost",
            "reason",
        ),
        *(
            "metadata",
            "todos",
            "exit",
            "time",
            "start",
            "end",
            "timestamp",
            "sessionID",
            "data",
            "message",
            "name",
        ),
        *("statusCode", "isRetryable", "length", "tool-calls", "command", "title"),
    ]
)
ANY_TEXT = WORDS | st.text(st.characters())
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(ANY_TEXT, inner, max_size=8),
    max_leaves=25,
)
KINDS = st.sampled_from(["step_start", "text", "reasoning", "tool_use", "step_finish", "error", "other"])
STATES = st.dictionaries(WORDS, ANY_JSON) | st.fixed_dictionaries(
    {
        "status": st.sampled_from(["completed", "error"]),
        "input": ANY_JSON,
        "metadata": ANY_JSON,
        "time": ANY_JSON,
    }
)
PARTS = ANY_JSON | st.fixed_dictionaries(
    {"tool": ANY_TEXT, "state": STATES, "text": ANY_TEXT, "tokens": ANY_JSON}
)
EVENTS = st.fixed_dictionaries(
    {"type": KINDS}, optional={"timestamp": ANY_JSON, "sessionID": ANY_JSON, "part": PARTS, "error": ANY_JSON}
)


def check_storable(report: Report, lines: list[LogLine]) -> None:
    stored = json.dumps(report.to_json(), allow_nan=False, ensure_ascii=False).encode()
    assert Report.from_json(json.loads(stored)) == report
    assert report.progress is None or 0 <= report.progress <= 99
    for line in lines:
        json.dumps([line.message, line.details], allow_nan=False, ensure_ascii=False).encode()
        # In `repr` a NUL is a backslash and x00; a backslash of the text's own is two.
        assert "\\x00" not in repr([line.message, line.details]).replace("\\\\", "")
        assert line.message
        assert line.level in {"debug", "info", "warn", "error"}
        assert line.time is None or line.time.tzinfo is UTC


@given(st.lists(EVENTS | ANY_JSON, max_size=4))
def test_survives_any_json(events: list[Any]) -> None:
    report = Report()
    lines = [line for each in events for line in AGENT.read_stdout(json.dumps(each), report)]

    check_storable(report, lines)


@given(st.text(st.characters()) | WORDS.map(lambda word: f"timestamp=1 level=ERROR {word}"), st.booleans())
def test_survives_any_text(text: str, errors: bool) -> None:
    report = Report()
    lines = AGENT.read_stderr(text, report) if errors else AGENT.read_stdout(text, report)

    check_storable(report, lines)


@given(st.text(st.characters()), st.text(st.characters()))
def test_survives_any_log_line(name: str, value: str) -> None:
    report = Report()
    lines = AGENT.read_stderr(
        f"timestamp=2026-11-23T05:45:54.445Z level=ERROR {name}={value} error={value}", report
    )

    check_storable(report, lines)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"retry-after": "600", "retry-after-ms": "1500"}, 1.5),
        ({"date": "Mon, 23 Nov 2026 02:20:31 GMT", "retry-after": "Mon, 23 Nov 2026 02:21:01 GMT"}, 30.0),
        ({"retry-after": "999999999"}, 86_400.0),
        ({"retry-after": "soon", "date": "Mon, 23 Nov 2026 02:20:31 GMT"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after-ms": "NaN"}, None),
        ({"retry-after": 7}, None),
        ({}, None),
        (None, None),
    ],
)
def test_knows_how_long_the_provider_wants_to_be_left_alone(headers: Any, seconds: float | None) -> None:
    report = Report()
    error = {"name": "APIError", "data": {"message": "no", "statusCode": 429, "responseHeaders": headers}}
    AGENT.read_stdout(json.dumps({"type": "error", "error": error}), report)
    assert report.retry_after == seconds
    assert AGENT.verdict(report, Exit(code=1, signal=None, stopped_by=None)).retry_after == seconds
