"""The supervisor with real agents: small shell and Python programs that behave as badly as agents do."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.execution import supervisor

SCRIPT = supervisor.__file__
PATCHED = (
    "import importlib.util, os, signal, sys, time\n"
    "spec = importlib.util.spec_from_file_location('supervisor', sys.argv[1])\n"
    "module = importlib.util.module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "{patch}\n"
    "sys.exit(module.main(sys.argv[2:]))\n"
)
"""Runs the supervisor with something broken in it, in its own process."""
LAST_RESORT = 60
"""Seconds after which every agent of these tests ends by itself."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the agents look into /proc")

OURS = supervisor.identity(os.getpid())


def marked(run_id: str) -> list[tuple[int, str]]:
    """Looks only at processes younger than the tests: the environment of others is none of our business."""
    return supervisor.descendants_by_marker(run_id, supervisor=OURS)


def until(condition: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """What the condition returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return value


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(program: str) -> list[str]:
    """An agent in Python; `ready()` tells the test that it is where it wants to be, with its pid."""
    prelude = (
        "import os, signal, sys, time\n"
        f"signal.alarm({LAST_RESORT})\n"
        "def ready(): os.write(1, b'%d\\n' % os.getpid())\n"
        "def ignore_term(): signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"def hang():\n    signal.alarm({LAST_RESORT})\n    while True: signal.pause()\n"
    )
    return [sys.executable, "-I", "-S", "-c", prelude + program]


DAEMON = (
    "def daemon():\n"
    "    reader, writer = os.pipe()\n"
    "    if os.fork(): return os.read(reader, 1)\n"
    "    os.setsid()\n"
    "    if os.fork(): os._exit(0)\n"
    "    ignore_term(); ready(); os.write(writer, b'.'); hang()\n"
)
"""What the agents' tools do: a process that has left the session, the group and its parents. It is ready, and
heeds no SIGTERM, when the call returns."""


class Run:
    """A run directory and what was started in it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.id = uuid.uuid4().hex

    def prepare(self, argv: list[str], *, prompt: bytes = b"", **changes: Any) -> None:
        spec: dict[str, Any] = {"run_id": self.id, "task_id": "task-1", "argv": argv}
        spec |= {"env": {"PATH": "/bin:/usr/bin"}, "cwd": "/", "timeout_seconds": None, "grace_seconds": 10.0}
        supervisor.write_json(self.directory / "launch.json", spec | changes)
        (self.directory / "prompt").write_bytes(prompt)

    def command(self, *, patch: str | None = None) -> list[str]:
        interpreter = [sys.executable, "-I", "-S"]
        if patch is None:
            return [*interpreter, SCRIPT, str(self.directory)]
        return [*interpreter, "-c", PATCHED.format(patch=patch), SCRIPT, str(self.directory)]

    def launch(self, *, patch: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        command = self.command(patch=patch)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, **options)

    def start(self, argv: list[str], *, patch: str | None = None, **changes: Any) -> None:
        self.prepare(argv, **changes)
        done = self.launch(patch=patch)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def read(self, name: str) -> dict[str, Any] | None:
        return supervisor.read_json(self.directory / name)

    def output(self) -> str:
        return (self.directory / "stdout").read_text()

    def ready_pids(self, count: int = 1) -> list[int]:
        """Waits until so many processes of the agent have called ready()."""
        until(lambda: self.output().count("\n") >= count)
        return [int(line) for line in self.output().split()]

    def exit(self) -> dict[str, Any]:
        record: dict[str, Any] = until(lambda: self.read("exit.json"))
        until(lambda: not supervisor.is_alive(self.directory))
        return record

    def supervisor(self) -> tuple[int, str]:
        record = self.read("supervisor.json")
        assert record is not None
        return record["pid"], record["identity"]

    def kill_supervisor(self) -> None:
        assert supervisor.send_signal(*self.supervisor(), signal.SIGKILL)
        until(lambda: not supervisor.is_alive(self.directory))

    def clean_up(self) -> None:
        if supervisor.is_alive(self.directory):
            supervisor.send_signal(*self.supervisor(), signal.SIGKILL)
        while left := marked(self.id):
            supervisor.end_processes(left, 0)


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[[], Run]]:
    runs: list[Run] = []

    def make() -> Run:
        runs.append(Run(tmp_path / f"run-{len(runs)}"))
        return runs[-1]

    yield make
    for run in runs:
        run.clean_up()


@pytest.fixture
def run(make_run: Callable[[], Run]) -> Run:
    return make_run()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that no run owns."""
    process = subprocess.Popen(["/bin/sleep", str(LAST_RESORT)])
    yield process
    process.kill()
    process.wait()


def gone(pid: int) -> bool:
    return supervisor.identity(pid) is None


# The record


def test_records_the_exact_exit_code_and_what_the_run_cost(run: Run) -> None:
    before = time.time()
    run.start(python("held = b'x' * 40_000_000\nwhile time.process_time() < 0.2: pass\nsys.exit(37)"))
    record = run.exit()
    assert (record["code"], record["signal"], record["stopped_by"], record["error"]) == (37, None, None, None)
    assert before <= record["started_at"] <= record["ended_at"] <= time.time()
    assert 0.2 <= record["duration_seconds"] <= time.time() - before
    assert 0.2 <= record["cpu_seconds"] < 5
    assert 40_000_000 < record["peak_memory_bytes"] < 200_000_000
    assert record["descendants_ended"] == 0


def test_records_the_signal_that_ended_the_agent(run: Run) -> None:
    run.start(sh("echo $$; kill -ABRT $$"))
    record = run.exit()
    assert (record["code"], record["signal"], record["stopped_by"]) == (None, signal.SIGABRT, None)
    agent = run.read("agent.json") or {}
    assert (agent["pid"], agent["started_at"]) == (int(run.output()), record["started_at"])


def test_names_the_agent_so_that_it_can_be_found_again(run: Run) -> None:
    run.start(python("ready(); hang()"))
    (pid,) = run.ready_pids()
    agent = until(lambda: run.read("agent.json"))
    assert (agent["pid"], agent["identity"]) == (pid, supervisor.identity(pid))
    assert abs(agent["started_at"] - time.time()) < 20
    assert supervisor.is_alive(run.directory)


# What the agent gets


def test_gives_the_prompt_on_stdin_and_then_end_of_file(run: Run) -> None:
    prompt = "--weiß nicht\n".encode() + bytes(range(256)) * 2000
    run.start(["/bin/cat"], prompt=prompt)
    assert run.exit()["code"] == 0
    assert (run.directory / "stdout").read_bytes() == prompt


def test_gives_exactly_the_environment_asked_for_and_the_markers(run: Run, tmp_path: Path) -> None:
    odd = {"PWD": str(tmp_path), "EMPTY": "", "LINES": "a\nb=c", "BYTES": os.fsdecode(b"\xff\xfe"), "Ü": "ß"}
    run.start(["/bin/cat", "/proc/self/environ"], env=odd, cwd=str(tmp_path))
    assert run.exit()["code"] == 0
    entries = (run.directory / "stdout").read_bytes().rstrip(b"\0").split(b"\0")
    expected = odd | {"OPENCODE_TASK_ID": "task-1", "OPENCODE_RUN_ID": run.id}
    assert sorted(entries) == sorted(os.fsencode(f"{name}={value}") for name, value in expected.items())


def test_starts_the_agent_where_it_is_to_work_in_its_own_session(run: Run, tmp_path: Path) -> None:
    run.start(python("print(os.getcwd(), os.getsid(0) == os.getpgid(0) == os.getpid())"), cwd=str(tmp_path))
    assert run.exit()["code"] == 0
    assert run.output().split() == [str(tmp_path), "True"]


def test_keeps_ten_megabytes_of_each_stream(run: Run) -> None:
    program = "for _ in range(10_000): os.write(1, b'o' * 999 + b'\\n'); os.write(2, b'e' * 999 + b'\\n')"
    run.start(python(program))
    assert run.exit()["code"] == 0
    assert (run.directory / "stdout").read_bytes() == (b"o" * 999 + b"\n") * 10_000
    assert (run.directory / "stderr").read_bytes() == (b"e" * 999 + b"\n") * 10_000


def test_leaks_no_descriptor_into_the_agent(run: Run) -> None:
    run.prepare(
        python("print(*sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]))")
    )
    reader, writer = os.pipe()
    done = run.launch(pass_fds=(reader, writer))
    os.close(reader)
    os.close(writer)
    assert done.returncode == 0
    assert run.exit()["code"] == 0
    assert run.output().split() == [str(run.directory / name) for name in ("prompt", "stderr", "stdout")]


def test_gives_the_agent_default_signals_and_the_umask_of_the_launcher(run: Run) -> None:
    run.prepare(["/bin/cat", "/proc/self/status"])

    def spoil() -> None:
        for signum in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD})
        os.umask(0o027)

    assert run.launch(preexec_fn=spoil).returncode == 0
    assert run.exit()["code"] == 0
    status = dict(line.split(":\t", 1) for line in run.output().splitlines() if ":\t" in line)
    assert status["Umask"] == "0027"
    # 32 and 33 are the C library's own: nobody but it can set them, they stay as they came.
    ours = ~(1 << 31 | 1 << 32)
    assert [int(status[kind], 16) & ours for kind in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


# One supervisor, one agent


def test_refuses_a_second_supervisor_and_touches_nothing(run: Run) -> None:
    run.start(python("ready(); hang()"))
    run.ready_pids()
    until(lambda: run.read("agent.json"))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.directory.iterdir()}
    done = run.launch()
    assert (done.returncode, done.stderr) == (3, f"supervisor: {run.directory} has a supervisor\n")
    assert before == {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.directory.iterdir()
    }


def test_starts_one_agent_when_many_supervisors_are_launched_at_once(run: Run) -> None:
    run.prepare(python("ready(); hang()"))
    launchers = [subprocess.Popen(run.command(), stderr=subprocess.DEVNULL) for _ in range(8)]
    assert sorted(launcher.wait(20) for launcher in launchers) == [0, 3, 3, 3, 3, 3, 3, 3]
    assert len(run.ready_pids()) == 1


def test_starts_no_second_agent_after_its_supervisor_died(run: Run) -> None:
    run.start(python("ready(); hang()"))
    (pid,) = run.ready_pids()
    run.kill_supervisor()
    before = run.read("supervisor.json")
    assert run.launch().returncode == 4
    assert run.read("supervisor.json") == before
    assert run.ready_pids() == [pid]
    assert not gone(pid)
    assert not (run.directory / "exit.json").exists()


def test_starts_although_others_keep_asking_whether_it_is_alive(run: Run) -> None:
    run.prepare(sh("exit 0"))
    (run.directory / "lock").touch(0o600)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            supervisor.is_alive(run.directory)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        assert run.launch().returncode == 0
    finally:
        over.set()
        for asker in askers:
            asker.join()


def test_does_not_take_other_questions_or_an_empty_directory_for_a_supervisor(run: Run) -> None:
    assert not supervisor.is_alive(run.directory)
    assert list(run.directory.iterdir()) == []
    (run.directory / "lock").touch(0o600)
    over = threading.Event()
    answers: list[bool] = []

    def ask() -> None:
        while not over.is_set():
            answers.append(supervisor.is_alive(run.directory))

    asker = threading.Thread(target=ask)
    asker.start()
    answers.extend(supervisor.is_alive(run.directory) for _ in range(2000))
    over.set()
    asker.join()
    assert not any(answers)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"argv": []}, "argv must be a list of at least one string, got []"),
        ({"argv": ["a", 1]}, "argv must be a string, got 1"),
        ({"env": {"A": None}}, "env.A must be a string, got None"),
        ({"run_id": None}, "run_id must be a string, got None"),
        ({"grace_seconds": "5"}, "grace_seconds must be a number of seconds, got '5'"),
        ({"timeout_seconds": -1}, "timeout_seconds must be a number of seconds, got -1"),
    ],
)
def test_refuses_a_launch_that_it_does_not_understand(
    run: Run, change: dict[str, Any], complaint: str
) -> None:
    run.prepare(**{"argv": sh("exit 0"), **change})
    done = run.launch()
    assert (done.returncode, done.stderr) == (1, f"supervisor: ValueError: launch.json: {complaint}\n")
    assert not (run.directory / "started").exists()
    # What it said came from the process that has detached, which is then still on its way out.
    until(lambda: not supervisor.is_alive(run.directory))


def test_says_in_one_line_that_there_is_no_such_directory(run: Run) -> None:
    shutil.rmtree(run.directory)
    done = run.launch()
    assert done.returncode == 1
    assert done.stderr.startswith("supervisor: FileNotFoundError: ")
    assert done.stderr.count("\n") == 1


# Agents that cannot be started


@pytest.mark.parametrize(
    ("argv", "cwd", "error"),
    [
        (["/no/such/agent"], "/", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/agent'"),
        (["no-such-agent"], "/", "FileNotFoundError: [Errno 2] No such file or directory"),
        (["./agent"], None, "PermissionError: [Errno 13] Permission denied: './agent'"),
        (["/bin/true"], "/no/place", "FileNotFoundError: [Errno 2] No such file or directory: '/no/place'"),
        (["/bin/true", "\0"], "/", "ValueError: embedded null byte"),
    ],
)
def test_records_why_the_agent_could_not_be_started(
    run: Run, tmp_path: Path, argv: list[str], cwd: str | None, error: str
) -> None:
    (tmp_path / "agent").touch(0o600)
    run.start(argv, cwd=cwd or str(tmp_path))
    record = run.exit()
    assert (record["code"], record["signal"], record["stopped_by"]) == (127, None, None)
    assert record["error"].startswith(error)
    assert record["started_at"] is None
    assert not (run.directory / "agent.json").exists()


def test_records_that_the_system_has_no_room_for_the_agent(run: Run) -> None:
    refuse = (
        "def refuse():\n    raise BlockingIOError(11, 'no more processes')\n"
        "forks = [os.fork, os.fork, refuse]\n"
        "module.os.fork = lambda: forks.pop(0)()"
    )
    run.start(sh("exit 0"), patch=refuse)
    record = run.exit()
    assert (record["code"], record["started_at"]) == (127, None)
    assert record["error"] == "BlockingIOError: [Errno 11] no more processes"
    assert not (run.directory / "agent.json").exists()


def test_writes_an_order_once_and_never_takes_a_kill_back(run: Run) -> None:
    order = run.directory / supervisor.STOP
    supervisor.request_stop(run.directory, reason="cancelled", force=True)
    first = order.stat().st_ino
    supervisor.request_stop(run.directory, reason="cancelled")
    assert order.stat().st_ino == first
    supervisor.request_stop(run.directory, reason="killed")
    assert supervisor.read_json(order) == {"reason": "killed", "force": True}


def test_starts_no_agent_for_a_run_that_is_to_stop_already(run: Run) -> None:
    assert not supervisor.request_stop(run.directory, reason="cancelled")
    run.start(sh("echo ran"))
    record = run.exit()
    assert (record["code"], record["signal"], record["stopped_by"]) == (None, None, "cancelled")
    assert (record["started_at"], record["error"], record["duration_seconds"] < 5) == (None, None, True)
    assert run.output() == ""
    assert not (run.directory / "started").exists()
    assert run.launch().returncode == 4


# Ending


def test_ends_on_timeout_what_ignores_the_signal_and_has_left_session_and_parents(run: Run) -> None:
    program = DAEMON + "daemon(); ignore_term(); ready(); hang()"
    run.start(python(program), timeout_seconds=3.0, grace_seconds=0.3)
    pids = run.ready_pids(2)
    record = run.exit()
    assert (record["stopped_by"], record["code"], record["signal"]) == ("timeout", None, signal.SIGKILL)
    assert 3.3 <= record["duration_seconds"] < 20
    assert record["descendants_ended"] == 1
    assert all(gone(pid) for pid in pids)


def test_lets_the_agent_finish_within_the_grace_when_it_is_cancelled(run: Run) -> None:
    program = "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(5)))\nready(); hang()"
    run.start(python(program))
    run.ready_pids()
    assert supervisor.request_stop(run.directory, reason="cancelled")
    record = run.exit()
    assert (record["stopped_by"], record["code"], record["signal"]) == ("cancelled", 5, None)
    assert run.output().endswith("saved\n")


def test_kills_at_once_when_forced(run: Run) -> None:
    run.start(python(DAEMON + "daemon(); ignore_term(); ready(); hang()"), grace_seconds=1000.0)
    pids = run.ready_pids(2)
    assert supervisor.request_stop(run.directory, reason="killed", force=True)
    record = run.exit()
    assert (record["stopped_by"], record["signal"]) == ("killed", signal.SIGKILL)
    assert all(gone(pid) for pid in pids)


def test_keeps_the_first_reason_and_lets_a_later_force_end_the_grace(run: Run) -> None:
    program = "signal.signal(signal.SIGTERM, lambda *_: ready())\nready(); hang()"
    run.start(python(program), grace_seconds=1000.0)
    run.ready_pids()
    assert supervisor.request_stop(run.directory, reason="finished")
    run.ready_pids(2)
    assert supervisor.request_stop(run.directory, reason="killed", force=True)
    record = run.exit()
    assert (record["stopped_by"], record["signal"]) == ("finished", signal.SIGKILL)


def test_does_not_begin_the_grace_again_for_a_second_request(run: Run) -> None:
    run.start(python("ignore_term(); ready(); hang()"), grace_seconds=1.0)
    run.ready_pids()
    began = time.monotonic()
    while supervisor.request_stop(run.directory, reason="cancelled"):
        assert time.monotonic() - began < 10
    assert time.monotonic() - began >= 1.0
    assert run.exit()["signal"] == signal.SIGKILL


@pytest.mark.parametrize(
    ("signum", "content"),
    [
        (signal.SIGTERM, None),
        (signal.SIGINT, None),
        (signal.SIGHUP, None),
        (signal.SIGTERM, ""),
        (signal.SIGTERM, '{"rea'),
        (signal.SIGTERM, '{"reason": 7}'),
    ],
)
def test_ends_the_run_when_it_is_signalled_without_a_reason(
    run: Run, signum: signal.Signals, content: str | None
) -> None:
    run.start(python("ready(); hang()"))
    run.ready_pids()
    if content is not None:
        (run.directory / "stop.json").write_text(content)
    assert supervisor.send_signal(*run.supervisor(), signum)
    record = run.exit()
    assert (record["stopped_by"], record["signal"]) == ("signalled", signal.SIGTERM)


def test_ends_the_run_even_if_the_request_cannot_be_written(run: Run) -> None:
    run.start(python("ready(); hang()"))
    run.ready_pids()
    (run.directory / "stop.json").mkdir()
    with pytest.raises(IsADirectoryError):
        supervisor.request_stop(run.directory, reason="cancelled")
    record = run.exit()
    assert (record["stopped_by"], record["signal"]) == ("signalled", signal.SIGTERM)


def test_ends_what_the_agent_leaves_behind_before_it_reports(run: Run) -> None:
    run.start(python(DAEMON + "daemon(); daemon()"), grace_seconds=0.2)
    pids = run.ready_pids(2)
    record = run.exit()
    assert (record["code"], record["stopped_by"], record["descendants_ended"]) == (0, None, 2)
    assert all(gone(pid) for pid in pids)


def test_lets_leftovers_that_heed_the_signal_go_without_waiting(run: Run) -> None:
    run.start(sh("setsid sleep 60 & sleep 60 & exit 3"), grace_seconds=1000.0)
    record = run.exit()
    assert (record["code"], record["descendants_ended"]) == (3, 2)


def test_ends_stopped_processes_within_the_grace(run: Run) -> None:
    run.start(python("ready(); os.kill(os.getpid(), signal.SIGSTOP)"), grace_seconds=1000.0)
    (pid,) = run.ready_pids()
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T")
    assert supervisor.request_stop(run.directory, reason="no_output")
    assert run.exit()["signal"] == signal.SIGTERM


def test_catches_what_keeps_forking_away_from_it(run: Run) -> None:
    chain = (
        f"ignore_term(); end = time.monotonic() + {LAST_RESORT}\n"
        "for _ in range(4):\n    if not os.fork(): break\n"
        "while time.monotonic() < end:\n    if os.fork(): os._exit(0)\n    os.setsid(); ready()"
    )
    run.start(python(chain), grace_seconds=0.3)
    record = run.exit()
    assert run.output().count("\n") > 100
    assert record["descendants_ended"] >= 4
    assert marked(run.id) == []


def test_ends_a_process_whose_main_thread_has_ended(run: Run) -> None:
    program = (
        "import ctypes, threading\nignore_term()\n"
        "def work():\n    ready()\n    time.sleep(60)\n"
        "threading.Thread(target=work).start()\nctypes.CDLL(None).pthread_exit(None)"
    )
    run.start(python(program), grace_seconds=0.2)
    (pid,) = run.ready_pids()
    until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
    assert supervisor.identity(pid) is not None
    assert supervisor.request_stop(run.directory, reason="cancelled")
    assert run.exit()["signal"] == signal.SIGKILL


def test_is_idle_while_somebody_will_not_go_and_says_who(run: Run) -> None:
    refuse = (
        "def refuse(pid, known, signum):\n    raise PermissionError(1, 'not yours')\n"
        "module.send_signal = refuse"
    )
    run.start(python("ready(); time.sleep(1.5)"), patch=refuse, grace_seconds=0.0)
    (pid,) = run.ready_pids()
    os.kill(run.supervisor()[0], signal.SIGTERM)
    until(lambda: (run.directory / "supervisor.err").exists())
    ticks = sum(map(int, Path(f"/proc/{run.supervisor()[0]}/stat").read_text().split()[13:15]))
    record = run.exit()
    assert (record["code"], record["stopped_by"], record["descendants_ended"]) == (0, "signalled", 0)
    assert ticks <= 10
    said = (run.directory / "supervisor.err").read_text()
    assert said == f"process {pid} of the run may not be ended: [Errno 1] not yours\n"


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
def test_ends_what_it_can_see_on_systems_without_proc_and_subreapers(run: Run) -> None:
    program = "if not os.fork():\n    os.setsid(); ignore_term(); ready(); hang()\nready(); hang()"
    run.start(python(program), patch="module.LINUX = False", timeout_seconds=3.0, grace_seconds=0.3)
    pids = run.ready_pids(2)
    record = run.exit()
    assert (record["stopped_by"], record["signal"], record["descendants_ended"]) == (
        "timeout",
        signal.SIGTERM,
        1,
    )
    assert all(gone(pid) for pid in pids)


# Deaths around it


def test_outlives_the_process_that_launched_it(run: Run) -> None:
    flag = run.directory / "go-on"
    run.prepare(python(f"ready()\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.01)"))
    throw_away = (
        "import subprocess, sys, time\n"
        "print(subprocess.call(sys.argv[1:]), flush=True)\n"
        f"time.sleep({LAST_RESORT})\n"
    )
    command = [sys.executable, "-c", throw_away, *run.command()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == b"0\n"
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
        os.killpg(launcher.pid, signal.SIGKILL)
    assert children == ""
    (pid,) = run.ready_pids()
    assert not gone(pid)
    flag.touch()
    assert run.exit()["code"] == 0


def test_leaves_an_agent_that_goes_on_writing_and_can_be_found_and_ended(run: Run) -> None:
    program = DAEMON + "daemon()\nready()\nwhile True: time.sleep(0.01); os.write(1, b'7\\n')"
    run.start(python(program))
    run.ready_pids(2)
    run.kill_supervisor()
    written = len(run.output())
    until(lambda: len(run.output()) > written + 20)
    orphans = marked(run.id)
    assert {pid for pid, _ in orphans} == set(run.ready_pids(2)) - {7}
    assert supervisor.end_processes(orphans, 0.2) == []
    assert marked(run.id) == []
    assert all(gone(pid) for pid, _ in orphans)
    assert not (run.directory / "exit.json").exists()


def test_writes_its_record_as_soon_as_the_disk_lets_it(run: Run) -> None:
    obstacle = run.directory / "exit.json"
    run.start(sh(f"mkdir {obstacle}; exit 6"))
    until(obstacle.is_dir)
    until(lambda: marked(run.id) == [])
    assert supervisor.request_stop(run.directory, reason="cancelled")
    assert supervisor.is_alive(run.directory)
    obstacle.rmdir()
    record = run.exit()
    assert (record["code"], record["stopped_by"]) == (6, None)
    assert list(run.directory.glob("*.tmp")) == []


def test_gives_up_when_its_directory_is_deleted(run: Run) -> None:
    run.start(python("ready(); hang()"))
    (pid,) = run.ready_pids()
    keeper = run.supervisor()
    shutil.rmtree(run.directory)
    assert supervisor.send_signal(*keeper, signal.SIGTERM)
    until(lambda: supervisor.identity(keeper[0]) != keeper[1])
    assert gone(pid)


def test_writes_its_own_failures_down(run: Run) -> None:
    run.start(sh("exit 0"), patch="module.Supervisor._record = lambda self: 1 / 0")
    until(lambda: not supervisor.is_alive(run.directory))
    assert (run.directory / "supervisor.err").read_text().endswith("ZeroDivisionError: division by zero\n")


# What it costs and who may read it


def test_is_small(run: Run) -> None:
    run.start(python("ready(); hang()"))
    run.ready_pids()
    status = Path(f"/proc/{run.supervisor()[0]}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak * 1024 < 15_000_000


def test_lets_nobody_else_read_its_files(run: Run) -> None:
    run.prepare(python("ready(); hang()"))
    assert run.launch(preexec_fn=lambda: os.umask(0)).returncode == 0
    run.ready_pids()
    supervisor.request_stop(run.directory, reason="cancelled")
    run.exit()
    (run.directory / "prompt").unlink()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in run.directory.iterdir()}
    objects = ("agent.json", "exit.json", "launch.json", "stop.json", "supervisor.json")
    assert modes == dict.fromkeys((*objects, "lock", "started", "stderr", "stdout"), 0o600)


def test_loads_nothing_of_the_project_and_nothing_heavy() -> None:
    listed = PATCHED.format(patch="sys.exit(' '.join(sys.modules))")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", listed, SCRIPT], capture_output=True, text=True, check=False
    )
    loaded = set(done.stderr.split())
    assert {"os", "json", "ctypes"} <= loaded
    assert not {"subprocess", "typing", "asyncio", "logging", "traceback", "django", "tasks"} & loaded


# The importable parts


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"[1]", b"7", b"\xff"])
def test_reads_only_complete_objects(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_bytes(content)
    assert supervisor.read_json(path) is None


def test_leaves_nothing_behind_when_it_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    supervisor.write_json(path, {"kept": True})
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    program = (
        "import sys; from tasks.execution.supervisor import *; write_json(sys.argv[1], {'a': 'x' * 9999})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)),
        cwd=Path(SCRIPT).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OSError" in done.stderr
    assert supervisor.read_json(path) == {"kept": True}
    assert os.listdir(tmp_path) == ["record.json"]


def test_tells_a_process_from_its_zombie_and_from_others(bystander: subprocess.Popen[bytes]) -> None:
    known = supervisor.identity(bystander.pid)
    assert known is not None
    assert known == supervisor.identity(bystander.pid)
    bystander.kill()
    until(lambda: supervisor.identity(bystander.pid) is None)
    assert Path(f"/proc/{bystander.pid}").exists()


def test_signals_no_process_but_the_one_it_was_told(bystander: subprocess.Popen[bytes]) -> None:
    assert not supervisor.send_signal(bystander.pid, "another-boot:1", signal.SIGKILL)
    assert supervisor.end_processes([(bystander.pid, "another-boot:1")], 0.1) == []
    assert bystander.poll() is None


def test_ends_processes_where_there_are_no_pidfds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.start(python("ignore_term(); ready(); hang()"))
    run.ready_pids()
    run.kill_supervisor()
    orphans = marked(run.id)
    monkeypatch.delattr(os, "pidfd_open")
    assert supervisor.end_processes(orphans, 0.1) == []
    assert marked(run.id) == []


def test_asks_no_stranger_that_has_the_pid_of_a_dead_supervisor(
    run: Run, bystander: subprocess.Popen[bytes]
) -> None:
    record = {"pid": bystander.pid, "identity": "another-boot:1"}
    supervisor.write_json(run.directory / "supervisor.json", record)
    assert not supervisor.request_stop(run.directory, reason="cancelled")
    assert run.read("stop.json") == {"reason": "cancelled", "force": False}
    assert bystander.poll() is None


def test_finds_only_the_processes_of_that_very_run(run: Run) -> None:
    run.start(python("ready(); hang()"))
    (pid,) = run.ready_pids()
    assert marked(run.id) == [(pid, supervisor.identity(pid))]
    assert marked(run.id[:-1]) == []
    assert marked("") == []
