"""OpenCode (`opencode run`). What is relied on was measured with opencode-ai 1.18.33."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from tasks.agents.base import Agent, Exit, Job, Launch, LogLine, Report, Verdict
from tasks.agents.opencode_binary import find_binary
from tasks.agents.opencode_output import REJECTED, read_event_line, read_stderr_line
from tasks.agents.text import one_line
from tasks.failures import FailureReason, explain

DETAIL_LIMIT: Final = 1_000
"""Characters that a verdict quotes of the agent's or the provider's own words."""
_STOPPED: Final = {
    "killed": FailureReason.KILLED,
    "signalled": FailureReason.KILLED,
    "timeout": FailureReason.TIMEOUT,
    "no_output": FailureReason.NO_OUTPUT,
}
_STATUSES: Final = {
    401: FailureReason.AUTH,
    402: FailureReason.AUTH,
    403: FailureReason.AUTH,
    404: FailureReason.BAD_MODEL,
    429: FailureReason.RATE_LIMIT,
}
_ERRORS: Final = {
    "ProviderAuthError": FailureReason.AUTH,
    "MessageOutputLengthError": FailureReason.OUTPUT_TRUNCATED,
}
_BAD_MODEL: Final = re.compile(r"Model not found: .*|ModelNotFoundError.*")
_NO_DIRECTORY: Final = "Failed to change directory"
_EXEC_FAILED: Final = 127
_ENV: Final = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_SHARE": "1"}


class OpenCode(Agent):
    """Runs one prompt without a terminal and reads its stream of events."""

    name: ClassVar[str] = "opencode"
    label: ClassVar[str] = "OpenCode"

    def find(self, *, configured: str, search_path: str) -> Path | None:
        return find_binary(configured=configured, search_path=search_path)

    def launch(self, job: Job, *, executable: Path) -> Launch:
        directory = str(job.working_dir)
        argv = [str(executable), "run", "--format", "json", "--dir", directory, "--title", job.task_id]
        if job.model:
            # In one word: a model that begins with `-` stays a value and never becomes a flag.
            argv.append(f"--model={job.model}")
        # Without its log an unknown model is an `UnknownError` that names nothing, and a minute of retries is
        # silence. A run without such trouble logs nothing at this level.
        argv += ["--print-logs", "--log-level", "WARN"]
        # opencode believes PWD more than its working directory. The Bun in it unpacks a library of 5.5 MB for
        # each run and leaves it there (anomalyco/opencode #21427, oven-sh/bun #40076).
        env = {**_ENV, "PWD": directory, "BUN_TMPDIR": str(job.scratch)}
        return Launch(argv=tuple(argv), env=env, stdin=_prompt(job))

    def first_start(self, executable: Path) -> Launch | None:
        # A first start makes or migrates the database that all of a user's opencode share. Where there was
        # none yet, 2 of 24 runs that began in fours broke off in `CREATE TABLE`; after it none of 48.
        return Launch(argv=(str(executable), "db", "select 1"), env=_ENV, stdin="")

    def read_stdout(self, line: str, report: Report) -> list[LogLine]:
        return read_event_line(line, report)

    def read_stderr(self, line: str, report: Report) -> list[LogLine]:
        return read_stderr_line(line, report)

    def verdict(self, report: Report, exit: Exit) -> Verdict:
        """Success needs an own good end and the word `stop`; the exit code alone proves nothing.

        A run that was ended for lingering after `stop` has done its work, and so has one whose time was up
        just as it ended by itself. One that was cancelled has not, whatever it managed to say.
        """
        done = report.finished and not report.error_name and (exit.code == 0 or exit.stopped_by == "finished")
        if exit.stopped_by == "cancelled":
            return _failed(FailureReason.KILLED)
        if done:
            return Verdict(succeeded=True, reason=None, detail="")
        if exit.stopped_by in _STOPPED:
            reason = _STOPPED[exit.stopped_by]
            return _failed(reason, "" if reason == FailureReason.KILLED else _last_words(report))
        if report.error_name:
            return replace(_failed(*_blame(report)), retry_after=report.retry_after)
        if report.events == 0:
            return _never_worked(report, exit)
        return _gave_up(report, exit)


def _prompt(job: Job) -> str:
    if not job.files_pattern:
        return job.description
    return f"{job.description}\n\nThis task is about the files that match: {job.files_pattern}\n"


def _failed(reason: FailureReason, said: str = "") -> Verdict:
    said = one_line(said, DETAIL_LIMIT)
    return Verdict(
        succeeded=False, reason=reason, detail=f"{explain(reason)} ({said})" if said else explain(reason)
    )


def _blame(report: Report) -> tuple[FailureReason, str]:
    """The reason behind the stream's `error` event, and the words to quote."""
    status, message = report.error_status, report.error_message
    # For what went wrong before the model was called the event says `UnknownError`; the log knows more.
    unknown_model = _BAD_MODEL.search(f"{message}\n{report.stderr_tail}")
    if report.error_name in _ERRORS:
        return _ERRORS[report.error_name], message
    if status is not None:
        return _STATUSES.get(status, _other_status(status)), f"HTTP {status}: {message}"
    if unknown_model:
        return FailureReason.BAD_MODEL, unknown_model.group()
    if report.error_retryable or message.startswith("Cannot connect"):
        return FailureReason.PROVIDER_UNREACHABLE, message
    if report.error_name == "UnknownError":
        return FailureReason.AGENT_ERROR, _last_words(report) or message
    return FailureReason.AGENT_ERROR, f"{report.error_name}: {message}"


def _other_status(status: int) -> FailureReason:
    return FailureReason.PROVIDER_ERROR if status >= 500 else FailureReason.AGENT_ERROR


def _never_worked(report: Report, exit: Exit) -> Verdict:
    said = _last_words(report)
    if _NO_DIRECTORY in report.stderr_tail:
        return _failed(FailureReason.WORKING_DIR, said)
    if exit.signal is not None:
        return _failed(FailureReason.AGENT_CRASHED, f"{_signal(exit.signal)} before it said anything")
    if exit.code is None or exit.code == _EXEC_FAILED:
        return _failed(FailureReason.LAUNCH_FAILED, said)
    return _failed(FailureReason.AGENT_ERROR, f"exit code {exit.code}: {said or 'it said nothing'}")


def _gave_up(report: Report, exit: Exit) -> Verdict:
    if exit.signal is not None:
        return _failed(FailureReason.AGENT_CRASHED, _signal(exit.signal))
    if report.permission_rejected and report.last_reason == "tool-calls":
        asked = [line for line in report.stderr_tail.split("\n") if REJECTED in line]
        return _failed(FailureReason.PERMISSION_REJECTED, asked[-1].removeprefix("! ") if asked else "")
    if report.last_reason == "length":
        return _failed(FailureReason.OUTPUT_TRUNCATED)
    ended = f"exit code {exit.code}, the model's last answer ended with {report.last_reason or 'nothing'!r}"
    return _failed(FailureReason.AGENT_ERROR, ": ".join(filter(None, (ended, _last_words(report)))))


def _last_words(report: Report) -> str:
    """The last line of stderr that says that something is wrong, else the last one."""
    lines = [line for line in report.stderr_tail.split("\n") if line]
    wrong = [line for line in lines if line.startswith(("Error:", "failed:", "error:"))]
    return (wrong or lines or [""])[-1].removeprefix("Error: ").removeprefix("failed: ")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
