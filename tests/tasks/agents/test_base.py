"""What the adapters give: log lines within their limits, and reports that survive being stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

from tasks.agents.base import COST_LIMIT, MESSAGE_LIMIT, STDERR_TAIL_LIMIT, LogLine, Report

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_makes_a_line_of_foreign_text() -> None:
    line = LogLine.of("warn", "\x1b[1mno\x00", {"out\x00": "\x1b[0mx"}, time=NOON)

    assert line == LogLine(level="warn", message="no", details={"out": "x"}, time=NOON)


def test_says_in_the_details_that_a_message_was_clipped() -> None:
    line = LogLine.of("info", "x" * (MESSAGE_LIMIT + 1), {"tool": "bash"})

    assert len(line.message) == MESSAGE_LIMIT
    assert line.message.endswith(f"… [clipped, {MESSAGE_LIMIT + 1} characters in all]")
    assert line.details == {"tool": "bash", "clipped": True}


def test_says_in_the_details_that_a_detail_was_clipped() -> None:
    assert LogLine.of("info", "read", {"output": "x" * 40_000}).details["clipped"] is True


def test_gets_a_report_back_from_json() -> None:
    report = Report(
        session_id="ses_1", events=3, progress=33, error_status=429, cost="0.0022", stderr_tail="é"
    )

    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_reads_a_report_of_another_version() -> None:
    assert Report.from_json({}) == Report()
    assert Report.from_json({"events": 2, "from_the_future": 1}) == Report(events=2)


def test_adds_costs_without_rounding() -> None:
    report = Report()
    for _ in range(1_000):
        report.add_cost(Decimal("0.0022"))

    assert Decimal(report.cost) == Decimal("2.2")


def test_does_not_believe_an_absurd_cost() -> None:
    report = Report()
    for _ in range(3):
        report.add_cost(Decimal("9e9"))

    assert Decimal(report.cost) == COST_LIMIT


def test_keeps_the_end_of_stderr() -> None:
    report = Report()
    for number in range(1_000):
        report.add_stderr(f"line {number}")

    assert len(report.stderr_tail) <= STDERR_TAIL_LIMIT
    assert report.stderr_tail.endswith("line 998\nline 999")
