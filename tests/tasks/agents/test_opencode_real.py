"""The real opencode, started as the adapter says and read by it, against the scripted model server."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.agents.base import Exit, Job, LogLine, Report, Verdict
from tasks.agents.opencode import OpenCode
from tasks.failures import FailureReason
from tests.support.model_server import ModelServer, find_opencode, opencode_env

pytestmark = pytest.mark.real

AGENT = OpenCode()
PATIENCE = 120.0
AT_ONCE = 4
"""Runs side by side; each takes half a gigabyte of memory."""
AWKWARD = (
    "--version\n'single' \"double\" `id` $HOME $(id) \\n %s\n/init @file !ls\n\ttab  two spaces\n"
    "日本語 🎉 e\u0301 \u202eleft\n" + "long line " * 2_000 + "\n\nthe end  "
)
# Each run costs five seconds of a core, so one case serves several tests. What is missing here is tested with
# recorded streams; an unreachable provider costs 70 s.
PROMPTS = {
    "": "Say hello",
    "todos": "Work through the list",
    "badtool": "Read the file",
    "err401": "Use a wrong key",
    "err429": "Be too fast",
    "length": "Talk for ever",
    "outside": "Write outside",
    "talk": AWKWARD,
    "sleep": "run: echo slept > slept.txt",
    "nosuch": "Use a model that is not there",
}


@dataclass
class Ran:
    """A run that has ended, with what the adapter made of it."""

    directory: Path
    verdict: Verdict
    report: Report = field(default_factory=Report)
    lines: list[LogLine] = field(default_factory=list)

    def said(self, level: str) -> list[str]:
        return [line.message for line in self.lines if line.level == level]


class Runner:
    """Starts runs at once, each in directories of its own."""

    def __init__(self, executable: Path, server: ModelServer, directory: Path) -> None:
        self.server = server
        self._executable = executable
        self._directory = directory
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, model: str, prompt: str) -> Future[Ran]:
        return self._pool.submit(self.run, model, prompt)

    def run(self, model: str, prompt: str) -> Ran:
        directory = self._directory / (model.replace("/", "-") or "default")
        process = self.start(directory, model, prompt)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
        return self.judge(directory, process.returncode)

    def start(self, directory: Path, model: str, prompt: str) -> subprocess.Popen[bytes]:
        project = directory / "project"
        scratch, temporary = directory / "scratch", directory / "tmp"
        for path in (project, scratch, temporary):
            path.mkdir(parents=True)
        job = Job(
            task_id=f"test-{directory.name}",
            run_id="1",
            description=prompt,
            files_pattern="",
            working_dir=project,
            scratch=scratch,
            model=model,
            type="testing",
            priority="high",
        )
        launch = AGENT.launch(job, executable=self._executable)
        (directory / "prompt").write_text(launch.stdin)
        with (
            (directory / "prompt").open("rb") as stdin,
            (directory / "out").open("wb") as out,
            (directory / "err").open("wb") as err,
        ):
            surroundings = {**opencode_env(self.server, directory / "home"), "TMPDIR": str(temporary)}
            return subprocess.Popen(
                launch.argv,
                cwd=project,
                env={**surroundings, **launch.env},
                stdin=stdin,
                stdout=out,
                stderr=err,
            )

    def judge(self, directory: Path, code: int) -> Ran:
        report, lines = Report(), []
        for line in (directory / "out").read_text().splitlines():
            lines += AGENT.read_stdout(line, report)
        for line in (directory / "err").read_text().splitlines():
            lines += AGENT.read_stderr(line, report)
        exit = Exit(code=code if code >= 0 else None, signal=-code if code < 0 else None, stopped_by=None)
        return Ran(directory / "project", AGENT.verdict(report, exit), report, lines)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    executable = find_opencode()
    if executable is None:
        pytest.skip("there is no opencode executable: set OPENCODE_BIN or put it on the PATH")
    with ModelServer() as server:
        runner = Runner(executable, server, tmp_path_factory.mktemp("opencode"))
        yield runner
        server.release()
        runner.close()


@pytest.fixture(scope="module")
def runs(runner: Runner) -> dict[str, Future[Ran]]:
    """All scenarios, begun together; each test waits for its own."""
    return {name: runner.submit(f"stub/{name}" if name else "", prompt) for name, prompt in PROMPTS.items()}


def outcome(run: Ran) -> tuple[bool, FailureReason | None]:
    return run.verdict.succeeded, run.verdict.reason


def test_does_the_task(runs: dict[str, Future[Ran]]) -> None:
    run = runs[""].result()

    assert outcome(run) == (True, None)
    assert (run.directory / "hello.txt").read_text() == "hello from stub\n"
    assert run.said("info") == ["write: hello.txt", "Done: wrote hello.txt"]
    assert run.report.last_message == "Done: wrote hello.txt"
    assert run.report.session_id.startswith("ses_")


def test_leaves_its_libraries_where_they_go_with_the_run(runs: dict[str, Future[Ran]]) -> None:
    directory = runs[""].result().directory.parent

    assert [path.suffix for path in (directory / "scratch").iterdir()] == [".so"]
    assert not [path for path in (directory / "tmp").rglob("*") if path.is_file()]


def test_counts_tokens_and_dollars(runs: dict[str, Future[Ran]]) -> None:
    report = runs[""].result().report

    assert (report.tokens_input, report.tokens_output, report.tokens_cache_read) == (1600, 100, 400)
    assert report.cost == "0.0044"


def test_writes_nothing_to_stderr_without_trouble(runs: dict[str, Future[Ran]]) -> None:
    assert runs[""].result().report.stderr_tail == ""


def test_shows_progress_by_the_todo_list(runs: dict[str, Future[Ran]]) -> None:
    run = runs["todos"].result()

    assert outcome(run) == (True, None)
    assert [message for message in run.said("info") if message.startswith("todos")] == [
        "todos: 0 of 3 done",
        "todos: 1 of 3 done",
        "todos: 3 of 3 done",
    ]
    assert run.report.progress == 99


def test_succeeds_although_a_tool_failed(runs: dict[str, Future[Ran]]) -> None:
    run = runs["badtool"].result()

    assert outcome(run) == (True, None)
    assert run.said("warn")[0].startswith("read: does-not-exist.txt failed: File not found")


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("err401", FailureReason.AUTH, "HTTP 401: Incorrect API key provided"),
        ("err429", FailureReason.RATE_LIMIT, "HTTP 429: Rate limit reached"),
        ("nosuch", FailureReason.BAD_MODEL, "Model not found: stub/nosuch."),
        ("length", FailureReason.OUTPUT_TRUNCATED, ""),
        ("outside", FailureReason.PERMISSION_REJECTED, "external_directory"),
    ],
)
def test_says_why_it_failed(
    runs: dict[str, Future[Ran]], name: str, reason: FailureReason, words: str
) -> None:
    run = runs[name].result()

    assert outcome(run) == (False, reason)
    assert words in run.verdict.detail


def test_does_not_write_outside_of_the_project(runs: dict[str, Future[Ran]]) -> None:
    run = runs["outside"].result()

    assert not (run.directory.parent / "outside.txt").exists()
    assert run.report.permission_rejected


def test_tries_a_provider_six_times(runs: dict[str, Future[Ran]], runner: Runner) -> None:
    run = runs["err429"].result()

    assert sum(request.model == "err429" for request in runner.server.requests) == 6
    assert len([message for message in run.said("warn") if "Rate limit reached" in message]) == 6


def test_reports_every_line_that_is_said(runs: dict[str, Future[Ran]]) -> None:
    run = runs["talk"].result()

    assert [message for message in run.said("info") if message.startswith("line")] == [
        "line 1 of 3",
        "line 2 of 3",
        "line 3 of 3",
    ]


def test_runs_the_command_of_the_prompt(runs: dict[str, Future[Ran]]) -> None:
    run = runs["sleep"].result()

    assert outcome(run) == (True, None)
    assert (run.directory / "slept.txt").read_text() == "slept\n"


def test_hands_an_awkward_prompt_on_word_for_word(runs: dict[str, Future[Ran]], runner: Runner) -> None:
    assert outcome(runs["talk"].result()) == (True, None)
    assert AWKWARD in [request.prompt for request in runner.server.requests]


def test_waits_for_a_model_that_does_not_answer(runner: Runner, tmp_path: Path) -> None:
    process = runner.start(tmp_path / "hang", "stub/hang", "Say nothing")
    try:
        runner.server.wait_for_request("hang")
        assert process.poll() is None
        assert (tmp_path / "hang" / "out").read_bytes() == b""
        os.kill(process.pid, signal.SIGTERM)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()

    run = runner.judge(tmp_path / "hang", code)
    assert outcome(run) == (False, FailureReason.AGENT_CRASHED)
    assert "SIGTERM" in run.verdict.detail
