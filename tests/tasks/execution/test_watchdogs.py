"""Agents that hang: at their start, and after they have said that they are done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.agents.opencode import OpenCode
from tasks.execution.follower import Followed
from tests.tasks.execution.conftest import Spooled, agent_record, stop_order

STEP = {"type": "step_start", "timestamp": 1, "sessionID": "s", "part": {}}
STOP = {"type": "step_finish", "timestamp": 1, "sessionID": "s", "part": {"reason": "stop"}}


def lines(*events: dict[str, Any]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def test_ends_a_run_that_has_said_nothing_for_too_long(
    spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = spooled(agent_json=agent_record())
    followed.follow()
    assert stop_order(followed) is None
    monkeypatch.setattr(OpenCode, "quiet_start_seconds", -1.0)
    followed.follow()
    assert stop_order(followed) == "no_output"


def test_leaves_a_run_alone_that_has_spoken(spooled: Spooled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenCode, "quiet_start_seconds", -1.0)
    followed = spooled(agent_json=agent_record(), stdout=lines(STEP))
    followed.follow()
    assert stop_order(followed) is None


@pytest.mark.parametrize("age", [-3600.0, OpenCode.quiet_start_seconds + 3600])
def test_is_not_misled_by_a_clock_that_was_set(spooled: Spooled, age: float) -> None:
    followed = spooled(agent_json=agent_record(age=age))
    followed.follow()
    assert stop_order(followed) is None


def test_ends_a_run_that_lingers_after_its_last_word(
    spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = spooled(agent_json=agent_record(), stdout=lines(STEP, STOP))
    followed.follow()
    assert stop_order(followed) is None
    monkeypatch.setattr(OpenCode, "linger_seconds", -1.0)
    followed.follow()
    assert stop_order(followed) == "finished"


def test_counts_a_run_that_was_ended_for_lingering_as_completed(spooled: Spooled) -> None:
    record = {"code": None, "signal": 15, "stopped_by": "finished"}
    followed = spooled(agent_json=agent_record(), stdout=lines(STEP, STOP), exit_json=record)
    assert followed.follow() is True
    assert ended(followed) == ("completed", "")


def test_takes_the_agents_exit_and_its_use_of_the_machine_from_the_record(spooled: Spooled) -> None:
    record = {"code": 1, "signal": None, "stopped_by": None, "peak_memory_bytes": 5, "cpu_seconds": 0.5}
    followed = spooled(agent_json=agent_record(), stderr="Error: no such thing\n", exit_json=record)
    assert followed.follow() is True
    assert ended(followed) == ("failed", "agent_error")
    followed.run.refresh_from_db()
    assert (followed.run.exit_code, followed.run.peak_memory, followed.run.cpu_seconds) == (1, 5, 0.5)
    assert "no such thing" in followed.run.failure_detail


def ended(followed: Followed) -> tuple[str, str]:
    followed.run.task.refresh_from_db()
    return followed.run.task.status, followed.run.task.failure_reason
