"""How opencode is started, and what is thought of a run that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.agents import AGENTS
from tasks.agents.base import Exit, Job, Report
from tasks.agents.opencode import OpenCode
from tasks.failures import FailureReason, explain
from tests.tasks.agents.test_opencode_output import replay

AGENT = OpenCode()
CLEAN = Exit(code=0, signal=None, stopped_by=None)
FAILED = Exit(code=1, signal=None, stopped_by=None)
EXECUTABLE = Path("/opt/opencode")


def job(*, description: str = "Fix the tests", files_pattern: str = "", model: str = "") -> Job:
    return Job(
        task_id="task-1",
        run_id="run-1",
        description=description,
        files_pattern=files_pattern,
        working_dir=Path("/srv/project"),
        scratch=Path("/srv/scratch"),
        model=model,
        type="testing",
        priority="high",
    )


def stopped(by: str, *, code: int | None = None, signal: int | None = 15) -> Exit:
    return Exit(code=code, signal=None if code is not None else signal, stopped_by=by)


# --- Launch -------------------------------------------------------------------------------------------------


def test_is_the_agent_that_tasks_name() -> None:
    assert AGENTS["opencode"].name == "opencode"
    assert all(agent.name == name for name, agent in AGENTS.items())


def test_starts_one_run_in_the_working_directory() -> None:
    launch = AGENT.launch(job(model="stub/success"), executable=EXECUTABLE)

    assert launch.argv == (
        "/opt/opencode",
        *("run", "--format", "json", "--dir", "/srv/project", "--title", "task-1", "--model=stub/success"),
        *("--print-logs", "--log-level", "WARN"),
    )
    assert (launch.env["PWD"], launch.env["BUN_TMPDIR"]) == ("/srv/project", "/srv/scratch")


def test_leaves_the_model_to_opencode_if_none_is_named() -> None:
    assert not any(
        word.startswith(("-m", "--model")) for word in AGENT.launch(job(), executable=EXECUTABLE).argv
    )


def test_cannot_be_given_a_flag_as_a_model() -> None:
    argv = AGENT.launch(job(model="--auto"), executable=EXECUTABLE).argv

    assert "--auto" not in argv
    assert "--model=--auto" in argv


@pytest.mark.parametrize("description", ["-rf 'quoted' \"twice\"\n\n$HOME `id`", " padded ", "日本 🎉\x00"])
def test_gives_the_description_word_for_word_and_not_as_an_argument(description: str) -> None:
    launch = AGENT.launch(job(description=description), executable=EXECUTABLE)

    assert launch.stdin == description
    assert description not in launch.argv


def test_tells_which_files_a_task_is_about() -> None:
    launch = AGENT.launch(job(files_pattern="**/*.md"), executable=EXECUTABLE)

    assert launch.stdin == "Fix the tests\n\nThis task is about the files that match: **/*.md\n"


# --- Verdict ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["success", "todo", "bash", "bashfail", "badtool", "task", "think2", "noagent"]
)
def test_calls_a_run_that_said_stop_a_success(name: str) -> None:
    verdict = AGENT.verdict(replay(name)[0], CLEAN)

    assert (verdict.succeeded, verdict.reason, verdict.detail) == (True, None, "")


@pytest.mark.parametrize(
    ("name", "exit", "reason", "words"),
    [
        ("err401", FAILED, FailureReason.AUTH, "HTTP 401: Incorrect API key provided"),
        ("err429", FAILED, FailureReason.RATE_LIMIT, "HTTP 429: Rate limit reached"),
        ("retries", FAILED, FailureReason.RATE_LIMIT, "HTTP 429: Rate limit reached"),
        ("err500", FAILED, FailureReason.PROVIDER_ERROR, "HTTP 500: Stub server error"),
        (
            "unreachable",
            FAILED,
            FailureReason.PROVIDER_UNREACHABLE,
            "Cannot connect to API: Unable to connect.",
        ),
        ("unknown-model", FAILED, FailureReason.BAD_MODEL, "Model not found: stub/nosuch."),
        ("nomodel", FAILED, FailureReason.AGENT_ERROR, "Unexpected server error."),
        ("outside", CLEAN, FailureReason.PERMISSION_REJECTED, "external_directory (/home/dev/*)"),
        ("length", CLEAN, FailureReason.OUTPUT_TRUNCATED, ""),
        ("nodir", FAILED, FailureReason.WORKING_DIR, "Failed to change directory to /nonexistent"),
        ("noprompt", FAILED, FailureReason.AGENT_ERROR, "You must provide a message or a command"),
    ],
)
def test_finds_the_reason_of_a_failure(name: str, exit: Exit, reason: FailureReason, words: str) -> None:
    verdict = AGENT.verdict(replay(name)[0], exit)

    assert (verdict.succeeded, verdict.reason) == (False, reason)
    assert verdict.detail.startswith(explain(reason))
    assert words in verdict.detail


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, FailureReason.AGENT_ERROR),
        (402, FailureReason.AUTH),
        (403, FailureReason.AUTH),
        (404, FailureReason.BAD_MODEL),
        (503, FailureReason.PROVIDER_ERROR),
        (529, FailureReason.PROVIDER_ERROR),
    ],
)
def test_judges_the_providers_status(status: int, reason: FailureReason) -> None:
    report = Report(events=1, error_name="APIError", error_status=status, error_message="no")

    assert AGENT.verdict(report, FAILED).reason == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ProviderAuthError", FailureReason.AUTH),
        ("MessageOutputLengthError", FailureReason.OUTPUT_TRUNCATED),
        ("ContextOverflowError", FailureReason.AGENT_ERROR),
    ],
)
def test_judges_an_error_without_a_status_by_its_name(name: str, reason: FailureReason) -> None:
    assert AGENT.verdict(Report(events=1, error_name=name, error_message="no"), FAILED).reason == reason


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        ("timeout", FailureReason.TIMEOUT),
        ("no_output", FailureReason.NO_OUTPUT),
        ("killed", FailureReason.KILLED),
        ("signalled", FailureReason.KILLED),
        ("cancelled", FailureReason.KILLED),
    ],
)
def test_knows_who_ended_a_run(by: str, reason: FailureReason) -> None:
    verdict = AGENT.verdict(Report(events=3, last_reason="tool-calls"), stopped(by))

    assert (verdict.succeeded, verdict.reason) == (False, reason)


def test_says_what_a_run_was_waiting_for_when_its_time_was_up() -> None:
    report, _ = replay("retries")
    report.error_name = ""

    assert "Rate limit reached" in AGENT.verdict(report, stopped("timeout")).detail


def test_counts_a_run_that_only_did_not_exit_as_a_success() -> None:
    done, _ = replay("success")

    assert AGENT.verdict(done, stopped("finished")).succeeded
    assert AGENT.verdict(done, stopped("finished", signal=9)).succeeded


def test_does_not_count_a_lingering_run_with_an_error() -> None:
    report = Report(events=2, finished=True, error_name="APIError", error_status=500)

    assert AGENT.verdict(report, stopped("finished")).reason == FailureReason.PROVIDER_ERROR


def test_counts_a_run_that_ended_well_while_its_time_ran_out() -> None:
    done, _ = replay("success")

    assert AGENT.verdict(done, stopped("timeout", code=0)).succeeded
    assert AGENT.verdict(done, stopped("timeout")).reason == FailureReason.TIMEOUT
    assert not AGENT.verdict(done, stopped("cancelled", code=0)).succeeded


@pytest.mark.parametrize("exit", [FAILED, Exit(code=None, signal=9, stopped_by=None)])
def test_does_not_believe_stop_without_a_good_end(exit: Exit) -> None:
    assert not AGENT.verdict(replay("success")[0], exit).succeeded


def test_names_the_signal_of_a_crash() -> None:
    for report in (Report(), replay("bash")[0]):
        verdict = AGENT.verdict(report, Exit(code=None, signal=9, stopped_by=None))

        assert verdict.reason == FailureReason.AGENT_CRASHED
        assert "SIGKILL" in verdict.detail


@pytest.mark.parametrize("report", [Report(), Report(events=4, last_reason="tool-calls"), Report(events=1)])
def test_does_not_believe_the_exit_code_alone(report: Report) -> None:
    assert AGENT.verdict(report, CLEAN).reason == FailureReason.AGENT_ERROR


def test_says_why_a_process_could_not_be_started() -> None:
    report = Report(stderr_tail="/opt/opencode: Exec format error")
    verdict = AGENT.verdict(report, Exit(code=None, signal=None, stopped_by=None))

    assert verdict.reason == FailureReason.LAUNCH_FAILED
    assert "Exec format error" in verdict.detail


def test_lets_an_agent_go_on_after_a_rejected_permission() -> None:
    report = Report(events=5, finished=True, last_reason="stop", permission_rejected=True)

    assert AGENT.verdict(report, CLEAN).succeeded
