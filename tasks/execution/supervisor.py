"""The small process that outlives the worker: starts one agent, watches it, ends it with all it started.

Run as `python -I -S supervisor.py RUN_DIR`, it detaches and supervises the run that launch.json describes:

    launch.json      in   {run_id, task_id, argv, env, cwd, timeout_seconds (null = none), grace_seconds}
    prompt           in   the agent's stdin
    stop.json        in   {reason, force}: why the run is to end; from `request_stop`, which then signals
    lock             out  flocked for as long as the supervisor lives; its children never hold it
    supervisor.json  out  {pid, identity}
    started          out  claimed before the agent is forked: one agent per RUN_DIR, ever
    agent.json       out  {pid, identity, started_at}
    stdout, stderr   out  the agent's own descriptors, so a dead supervisor costs it no line and no EPIPE
    exit.json        out  see `Supervisor`: written when the agent and all its descendants are gone
    supervisor.err   out  the supervisor's own failures

Only the standard library, and of that only what is cheap: one of these processes lives beside every agent
(11 MB resident on CPython 3.11, 11.6 on 3.13; `subprocess` and `typing` would add 1 MB).
`*_at` are epoch seconds.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator

TYPE_CHECKING = False  # what `typing.TYPE_CHECKING` is, without 0.7 MB for importing it
if TYPE_CHECKING:
    from typing import Any, NoReturn, TextIO

LAUNCH, PROMPT, STOP = "launch.json", "prompt", "stop.json"
LOCK, SUPERVISOR, STARTED, AGENT = "lock", "supervisor.json", "started", "agent.json"
STDOUT, STDERR, EXIT, FAILURES = "stdout", "stderr", "exit.json", "supervisor.err"

TASK_MARKER, RUN_MARKER = "OPENCODE_TASK_ID", "OPENCODE_RUN_ID"

FAILED, ALREADY_SUPERVISED, ALREADY_STARTED = 1, 3, 4  # exit codes beside 0
EXEC_FAILED = 127  # what a shell answers for a command that it cannot run

LINUX = sys.platform == "linux"

_PROBE_TIME = 0.1  # how long a probe by `is_alive` may stand in the way of a supervisor that wants the lock
_KILL_PATIENCE = 5.0  # how long `end_processes` waits for the killed: only uninterruptible sleep takes longer
_FIRST_RETRY, _SLOWEST_RETRY = 0.05, 5.0
_PR_SET_CHILD_SUBREAPER = 36
_TERM_ROUNDS = 5


# --- Files ------------------------------------------------------------------------------------------------


def read_json(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The JSON object in the file; None if there is no such file, or no complete object in it."""
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """Puts the object there whole or not at all, mode 0600, on the disk before the name points to it.

    Raises OSError, and then leaves nothing behind.
    """
    draft = f"{os.fspath(path)}.{os.getpid()}.{time.monotonic_ns()}.tmp"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(json.dumps(value).encode())
            file.flush()
            os.fsync(descriptor)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def is_alive(run_dir: str | os.PathLike[str]) -> bool:
    """Whether a supervisor holds the run."""
    return is_locked(os.path.join(run_dir, LOCK))


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether some process holds the lock file. Never waits, and never makes it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who ask at the same time do not take each other for its holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take_lock(run_dir: str) -> int | None:
    """The locked descriptor, or None if another supervisor has it. A probe's hold is waited out."""
    descriptor = os.open(os.path.join(run_dir, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up = time.monotonic() + _PROBE_TIME
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= give_up:
                os.close(descriptor)
                return None
            time.sleep(0.005)  # flock knows no time limit


# --- Processes --------------------------------------------------------------------------------------------


class _Stat:
    """What /proc/PID/stat says. `dead`: all its threads have ended, only the entry is left for its parent."""

    def __init__(self, line: bytes) -> None:
        # The name comes first, in brackets, and may itself hold brackets and blanks.
        fields = line[line.rindex(b")") + 2 :].split()
        self.dead = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
        self.parent = int(fields[1])
        self.start_ticks = int(fields[19])


def _stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return _Stat(file.read(4096))
    except (FileNotFoundError, ProcessLookupError):
        return None


@functools.cache
def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _ps(*arguments: str) -> list[str]:
    """The lines of `ps`, for systems without /proc."""
    reader, writer = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        environment = {"PATH": "/bin:/usr/bin", "LC_ALL": "C", "TZ": "UTC"}
        pid = os.posix_spawnp("ps", ["ps", *arguments], environment, file_actions=actions)
    finally:
        os.close(writer)
        with open(reader, "rb", closefd=True) as file:
            output = file.read()
    os.waitpid(pid, 0)
    return output.decode(errors="replace").splitlines()


def _identity(pid: int, *, even_dead: bool) -> str | None:
    if LINUX:
        stat = _stat(pid)
        return None if stat is None or (stat.dead and not even_dead) else f"{_boot_id()}:{stat.start_ticks}"
    for line in _ps("-o", "stat=,lstart=", "-p", str(pid)):
        state, _, started = line.strip().partition(" ")
        return None if state.startswith("Z") and not even_dead else started.strip()
    return None


def identity(pid: int) -> str | None:
    """Tells this incarnation of a pid from any other; None if no such process lives (a zombie does not).

    Linux: boot id and start time in clock ticks. Elsewhere: the start time that `ps` shows, in seconds.
    """
    return _identity(pid, even_dead=False)


def _pin(pid: int) -> int | None:
    """A pidfd; None where there is none to be had. Raises ProcessLookupError."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:
        return None  # ENOSYS from an old kernel, EPERM from an old container's filter, EMFILE


def send_signal(pid: int, expected_identity: str, signum: int) -> bool:
    """Signals that very process; False if it is gone, whoever has its pid now.

    The process is pinned (pidfd) before it is compared. Without pidfds a race of microseconds stays.
    Raises PermissionError for a process that is not ours to signal.
    """
    try:
        pin = _pin(pid)
    except ProcessLookupError:
        return False
    try:
        if identity(pid) != expected_identity:
            return False
        if pin is None:
            os.kill(pid, signum)
        else:
            signal.pidfd_send_signal(pin, signum)
    except ProcessLookupError:
        return False
    finally:
        if pin is not None:
            os.close(pin)
    return True


def request_stop(run_dir: str | os.PathLike[str], *, reason: str, force: bool = False) -> bool:
    """Asks the run's supervisor to end the run: TERM, grace, KILL; with `force`, KILL at once.

    Asking again sends the signal again, since whoever asked before may have died in between. It writes only
    what is new, and never takes back a KILL at once.
    False if there is no live supervisor; the request stays, so one that starts later starts no agent.
    Raises OSError if the request cannot be written. Even then the run is ended, as "signalled".
    """
    asked = False
    try:
        before = read_json(os.path.join(run_dir, STOP)) or {}
        order = {"reason": reason, "force": force or bool(before.get("force"))}
        if order != before:
            write_json(os.path.join(run_dir, STOP), order)
    finally:
        # We write one file and read the other; a starting supervisor does it crosswise: one sees the other.
        supervisor = read_json(os.path.join(run_dir, SUPERVISOR))
        if supervisor is not None:
            asked = send_signal(supervisor["pid"], supervisor["identity"], signal.SIGTERM)
    return asked


def descendants_by_marker(run_id: str, *, supervisor: str | None = None) -> list[tuple[int, str]]:
    """(pid, identity) of this user's processes that inherited the run's marker in their environment.

    It finds what a dead supervisor left behind, except what was started with a cleaned environment. With the
    `supervisor`'s identity, nothing older than it is looked at: a stranger's environment is not our business.
    """
    entry = f"{RUN_MARKER}={run_id}"
    pids = _marked_in_proc(entry.encode(), _oldest(supervisor)) if LINUX else _marked_in_ps(entry)
    found = ((pid, identity(pid)) for pid in pids if pid != os.getpid())
    return [(pid, known) for pid, known in found if known is not None]


def _oldest(supervisor: str | None) -> float:
    """The start in ticks that nothing of the run can precede; infinite after a reboot: nothing is left."""
    boot, _, ticks = (supervisor or "").rpartition(":")
    if not boot:
        return 0
    return int(ticks) if boot == _boot_id() else float("inf")


def _marked_in_proc(entry: bytes, oldest: float) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.geteuid():
                continue
            stat = _stat(int(name))
            if stat is None or stat.start_ticks < oldest:
                continue
            with open(f"/proc/{name}/environ", "rb", buffering=0) as file:
                environment = file.readall()
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        if entry in environment.split(b"\0"):
            yield int(name)


def _marked_in_ps(entry: str) -> Iterator[int]:
    for line in _ps("-xEwwo", "pid=,command="):
        pid, *words = line.split()
        if entry in words:
            yield int(pid)


def end_processes(processes: Iterable[tuple[int, str]], grace_seconds: float) -> list[tuple[int, str]]:
    """TERM, grace, KILL for processes that are not our children. Returns those that are still there.

    Waits up to the grace and 5 s more: not for an event loop. What they forked meanwhile is to be looked for
    again afterwards.
    """
    left = list(processes)
    if grace_seconds > 0:
        left = [process for process in left if _may_live_after(*process, signal.SIGTERM, signal.SIGCONT)]
        left = _wait_until_gone(left, grace_seconds)
    left = [process for process in left if _may_live_after(*process, signal.SIGKILL)]
    return _wait_until_gone(left, _KILL_PATIENCE)


def _may_live_after(pid: int, expected_identity: str, *signums: int) -> bool:
    try:
        return all(send_signal(pid, expected_identity, signum) for signum in signums)
    except PermissionError:
        return True


def _wait_until_gone(processes: list[tuple[int, str]], seconds: float) -> list[tuple[int, str]]:
    deadline = time.monotonic() + seconds
    while True:
        processes = [(pid, known) for pid, known in processes if identity(pid) == known]
        remaining = deadline - time.monotonic()
        if not processes or remaining <= 0:
            return processes
        _wait_for_an_exit([pid for pid, _ in processes], remaining)


def _wait_for_an_exit(pids: list[int], seconds: float) -> None:
    """Returns when one of them has ended, or at the latest after a second: a pid may be another's by now."""
    poller, pins = select.poll(), []
    try:
        for pid in pids:
            pin = _pin(pid)
            if pin is None:
                seconds = min(seconds, 0.05)  # a stranger's exit is no event without it
            else:
                pins.append(pin)
                poller.register(pin, select.POLLIN)
        poller.poll(min(seconds, 1.0) * 1000)
    except ProcessLookupError:
        return
    finally:
        for pin in pins:
            os.close(pin)


# --- The run's processes ----------------------------------------------------------------------------------


class ReaperTree:
    """Our descendants on Linux. As a subreaper we inherit whoever loses its parent: none escapes."""

    poll_seconds: float | None = None  # SIGCHLD tells

    def walk(self) -> Iterator[tuple[int, str]]:
        """(pid, identity) of each as it is found: what is signalled at once has little time to fork."""
        family, unread = {os.getpid()}, [os.getpid()]
        while unread:
            for pid in _children(unread.pop()):
                stat = None if pid in family else _stat(pid)
                if stat is None or stat.parent not in family:
                    continue
                family.add(pid)
                unread.append(pid)
                if not stat.dead:
                    yield pid, f"{_boot_id()}:{stat.start_ticks}"

    def is_empty(self, *, childless: bool) -> bool:
        return childless


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.readall().split())
    except (FileNotFoundError, ProcessLookupError):
        return found  # ending just now: its children become ours, the next walk finds them
    return found


class PsTree:
    """Our descendants elsewhere: those seen so far, theirs, and who is still in the agent's process group."""

    poll_seconds: float | None = 0.2  # the end of an orphan is no event here

    def __init__(self, group: Callable[[], int | None]) -> None:
        self._group = group
        self._known: dict[int, str] = {}

    def walk(self) -> Iterator[tuple[int, str]]:
        me, group = os.getpid(), self._group()
        table = [tuple(map(int, line.split())) for line in _ps("-axo", "pid=,ppid=,pgid=")]
        self._known = {pid: known for pid, known in self._known.items() if identity(pid) == known}
        family = {me, *self._known}
        while new := {pid for pid, up, pgid in table if up in family or pgid == group} - family:
            family |= new
        for pid in family - {me}:
            known = identity(pid)
            if known is not None:
                self._known[pid] = known
                yield pid, known

    def is_empty(self, *, childless: bool) -> bool:
        return childless and not any(True for _ in self.walk())


def _become_subreaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot become a child subreaper: {os.strerror(number)}")


def _described(error: BaseException) -> str:
    if isinstance(error, OSError) and isinstance(error.filename, bytes):
        error.filename = os.fsdecode(error.filename)
    return f"{type(error).__name__}: {error}"


# --- The supervisor ---------------------------------------------------------------------------------------


def _bytes(value: object, field: str) -> bytes:
    """As UTF-8 whatever the locale; surrogates carry the bytes that are not."""
    if not isinstance(value, str):
        raise ValueError(f"{LAUNCH}: {field} must be a string, got {value!r}")
    return value.encode("utf-8", "surrogateescape")


def _seconds(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{LAUNCH}: {field} must be a number of seconds, got {value!r}")
    return float(value)


class Launch:
    """What launch.json asks for. Raises ValueError naming the field, what was expected and what is there."""

    def __init__(self, spec: dict[str, Any] | None) -> None:
        if spec is None:
            raise ValueError(f"{LAUNCH} is missing or is not a JSON object")
        argv, env, timeout = spec.get("argv"), spec.get("env"), spec.get("timeout_seconds")
        if not isinstance(argv, list) or not argv:
            raise ValueError(f"{LAUNCH}: argv must be a list of at least one string, got {argv!r}")
        if not isinstance(env, dict):
            raise ValueError(f"{LAUNCH}: env must be an object, got {type(env).__name__}")
        self.argv = [_bytes(word, "argv") for word in argv]
        self.env = {_bytes(name, "env"): _bytes(value, f"env.{name}") for name, value in env.items()}
        self.env[TASK_MARKER.encode()] = _bytes(spec.get("task_id"), "task_id")
        self.env[RUN_MARKER.encode()] = _bytes(spec.get("run_id"), "run_id")
        self.cwd = _bytes(spec.get("cwd"), "cwd")
        self.timeout = None if timeout is None else _seconds(timeout, "timeout_seconds")
        self.grace = _seconds(spec.get("grace_seconds"), "grace_seconds")


class Supervisor:
    """One run: one agent, what it starts, and the record of how it ended.

    exit.json holds `code` or `signal`: the agent's own end, both null if it never was; `stopped_by`: null,
    "timeout", a request's reason, or "signalled" without one; `started_at`: null if no agent was started;
    `ended_at`: when the last process was gone; `duration_seconds`; `cpu_seconds`: user and system, of all who
    were reaped; `peak_memory_bytes`: largest resident set of any one process; `descendants_ended`: processes
    beside the agent that had to be signalled; `error`: null, or why the agent could not be started.
    """

    def __init__(self, run_dir: str, *, lock: int, umask: int) -> None:
        self._run_dir = run_dir
        self._lock = lock
        self._umask = umask  # the launcher's: what the agent makes is not ours to close to others
        self._wake_reader, self._wake_writer = os.pipe()
        self._exec_report: int | None = None
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._retry = _FIRST_RETRY
        self._stop_asked = False
        self._agent_pid: int | None = None
        self._agent_identity: str | None = None
        self._agent_status: int | None = None
        self._childless = True
        self._stopped_by: str | None = None
        self._error: str | None = None
        self._began = time.monotonic()
        self._started_at: float | None = None
        self._deadline: float | None = None
        self._kill_at: float | None = None
        self._sweep_pause = _FIRST_RETRY
        self._signalled: dict[int, tuple[str, int]] = {}
        self._refused: set[tuple[int, str]] = set()
        self._descendants_ended = 0

    def prepare(self) -> None:
        """Everything that can be refused before an agent exists. Raises OSError or ValueError."""
        self._launch = Launch(read_json(self._path(LAUNCH)))
        self._listen()
        if LINUX:
            _become_subreaper()
        has_children_files = LINUX and os.path.exists(f"/proc/self/task/{os.getpid()}/children")
        self._tree = ReaperTree() if has_children_files else PsTree(lambda: self._agent_pid)
        write_json(self._path(SUPERVISOR), {"pid": os.getpid(), "identity": identity(os.getpid())})
        self._stdio = (
            os.open(self._path(PROMPT), os.O_RDONLY | os.O_CLOEXEC),
            self._open_spool(STDOUT),
            self._open_spool(STDERR),
        )
        # After supervisor.json: whoever asks from now on also signals.
        self._stop_asked = self._stop_asked or os.path.exists(self._path(STOP))
        if not self._stop_asked:
            os.close(os.open(self._path(STARTED), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def supervise(self) -> None:
        """Returns when the run is over and exit.json is written."""
        if self._stop_asked:
            self._stopped_by, _ = self._stop_request()
        else:
            self._start_agent()
        while not (self._childless and self._tree.is_empty(childless=True)):
            self._wait(self._next_look())
            self._reap()
            self._note_exec()
            if not self._childless or self._tree.poll_seconds is not None:
                self._advance()
            self._flush()
        self._unwritten[EXIT] = self._record()
        while not self._flush():
            self._wait(self._retry)

    def _path(self, name: str) -> str:
        return os.path.join(self._run_dir, name)

    def _open_spool(self, name: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path(name), flags, 0o600)

    # Waking up

    def _listen(self) -> None:
        """Signals only leave a flag and a byte in a pipe: the loop does the work, none is lost between."""
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def _on_stop_signal(self, *_: object) -> None:
        self._stop_asked = True

    def _wait(self, seconds: float | None) -> None:
        watched = [self._wake_reader] + ([self._exec_report] if self._exec_report is not None else [])
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._wake_reader in ready:
            os.read(self._wake_reader, 65536)

    def _next_look(self) -> float | None:
        """Seconds until something is due without a signal; None if nothing is."""
        due = [0.0] if self._stop_asked else []
        if self._unwritten:
            due.append(self._retry)
        now = time.monotonic()
        if self._kill_at is None:
            due += [] if self._deadline is None else [self._deadline - now]
        else:
            due.append(self._kill_at - now if self._kill_at > now else self._sweep_pause)
            due += [] if self._tree.poll_seconds is None else [self._tree.poll_seconds]
        return max(0.0, min(due)) if due else None

    # The agent

    def _start_agent(self) -> None:
        self._exec_report, writer = os.pipe()
        # A signal between fork and exec would be written to the pipe that both share.
        unblocked = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        self._began, self._started_at = time.monotonic(), time.time()
        try:
            self._agent_pid = os.fork()
            if self._agent_pid == 0:
                self._become_agent(writer)
            self._childless = False
            self._agent_identity = _identity(self._agent_pid, even_dead=True)
        except OSError as error:
            self._cannot_start(_described(error))
            os.close(self._exec_report)
            self._exec_report = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        for descriptor in (writer, *self._stdio):
            os.close(descriptor)
        if self._launch.timeout is not None:
            self._deadline = self._began + self._launch.timeout

    def _become_agent(self, report: int) -> NoReturn:
        """In the child. Exec closes every descriptor but the three; `report` too, and that is the success."""
        try:
            os.close(self._lock)
            os.setsid()
            signal.set_wakeup_fd(-1)
            for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(signum, signal.SIG_DFL)
            for target, source in enumerate(self._stdio):
                os.dup2(source, target)
            os.umask(self._umask)
            os.chdir(self._launch.cwd)
            if os.getcwdb() != os.path.normpath(self._launch.cwd):
                # It was checked with every link resolved: since then somebody has put a link in its way.
                raise OSError(errno.ELOOP, "the working directory leads elsewhere now")
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.execvpe(self._launch.argv[0], self._launch.argv, self._launch.env)
        except BaseException as error:  # noqa: BLE001 - the child must not live on as a supervisor
            os.write(report, _described(error)[:1000].encode(errors="backslashreplace"))
        finally:
            os._exit(EXEC_FAILED)

    def _note_exec(self) -> None:
        """Takes the child's word on whether it has become the agent, once it is there."""
        if self._exec_report is None or not select.select([self._exec_report], [], [], 0)[0]:
            return
        complaint = os.read(self._exec_report, 65536).decode()
        os.close(self._exec_report)
        self._exec_report = None
        if complaint:
            self._cannot_start(complaint)
        else:
            self._unwritten[AGENT] = {
                "pid": self._agent_pid,
                "identity": self._agent_identity,
                "started_at": self._started_at,
            }

    def _cannot_start(self, error: str) -> None:
        self._error = error
        self._started_at = None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._childless = True
                return
            if pid == 0:
                return
            self._signalled.pop(pid, None)
            self._sweep_pause = _FIRST_RETRY
            if pid == self._agent_pid and self._agent_status is None:
                self._agent_status = status

    # Ending

    def _stop_request(self) -> tuple[str, bool]:
        self._stop_asked = False
        try:
            request = read_json(self._path(STOP)) or {}
        except OSError:
            request = {}  # the wish to stop is clear even if its reason cannot be read
        reason = request.get("reason")
        return reason if isinstance(reason, str) and reason else "signalled", request.get("force") is True

    def _advance(self) -> None:
        """Does what is due now: begins to end the run, or goes on with it."""
        if self._stop_asked:
            reason, force = self._stop_request()
            if self._kill_at is None:
                self._begin_ending(reason, grace=0.0 if force else self._launch.grace)
            elif force:
                self._kill_at = time.monotonic()
        elif self._kill_at is None and self._agent_status is not None:
            self._begin_ending(None, grace=self._launch.grace)
        elif self._kill_at is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self._begin_ending("timeout", grace=self._launch.grace)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            found_new = self._signal_all(self._tree.walk(), signal.SIGKILL)
            # Whoever keeps forking is chased without a pause; who cannot die yet is not polled for.
            self._sweep_pause = 0.0 if found_new else min(max(self._sweep_pause, 0.025) * 2, _SLOWEST_RETRY)

    def _begin_ending(self, reason: str | None, *, grace: float) -> None:
        if self._agent_status is None:
            self._stopped_by = reason
        self._kill_at = time.monotonic() + grace
        if grace > 0:
            # Again for those born during the walk, but not for ever: those that clean up may start helpers.
            for _ in range(_TERM_ROUNDS):
                if not self._signal_all(list(self._tree.walk()), signal.SIGTERM, signal.SIGCONT):
                    return

    def _signal_all(self, processes: Iterable[tuple[int, str]], signum: int, *then: int) -> bool:
        """Once to each process; whether one had not had it before."""
        found_new = False
        for pid, known in processes:
            before = self._signalled.get(pid)
            if before == (known, signum):
                continue
            try:
                sent, *_ = [send_signal(pid, known, each) for each in (signum, *then)]
            except PermissionError as error:
                self._note_refusal(pid, known, error)
                continue
            if sent:
                found_new = True
                self._signalled[pid] = (known, signum)
                self._descendants_ended += pid != self._agent_pid and (before is None or before[0] != known)
        return found_new

    def _note_refusal(self, pid: int, known: str, error: PermissionError) -> None:
        if (pid, known) not in self._refused:
            self._refused.add((pid, known))
            with _open_failures(self._run_dir) as file:
                print(f"process {pid} of the run may not be ended: {error}", file=file)

    # The record

    def _record(self) -> dict[str, Any]:
        status = None if self._agent_status is None else os.waitstatus_to_exitcode(self._agent_status)
        if status is None and self._error is not None:
            status = EXEC_FAILED
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "code": status if status is not None and status >= 0 else None,
            "signal": -status if status is not None and status < 0 else None,
            "stopped_by": self._stopped_by,
            "started_at": self._started_at,
            "ended_at": time.time(),
            "duration_seconds": time.monotonic() - self._began,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_memory_bytes": usage.ru_maxrss * (1024 if LINUX else 1),
            "descendants_ended": self._descendants_ended,
            "error": self._error,
        }

    def _flush(self) -> bool:
        """Writes what is due; whether all is written. A full disk is waited out: the caller comes again."""
        for name in list(self._unwritten):
            try:
                write_json(self._path(name), self._unwritten[name])
            except OSError:
                if os.path.isdir(self._run_dir):
                    self._retry = min(self._retry * 2, _SLOWEST_RETRY)
                    return False
                # The whole directory was deleted: nobody is left to read it.
            del self._unwritten[name]
        self._retry = _FIRST_RETRY
        return True


# --- Becoming one -----------------------------------------------------------------------------------------


def _open_failures(run_dir: str) -> TextIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return open(os.open(os.path.join(run_dir, FAILURES), flags, 0o600), "w", errors="backslashreplace")


def _occupy_standard_descriptors() -> None:
    """If the launcher closed some of the three, nothing of ours may get their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) in range(3):
        continue
    os.close(descriptor)


def _detach(report: int) -> int:
    """Lets go of all that came from the launcher. Returns its umask."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    for name in os.listdir("/proc/self/fd" if LINUX else "/dev/fd"):
        if int(name) not in (0, 1, 2, report):
            try:
                os.close(int(name))
            except OSError:
                continue  # the listing's own, closed by now
    os.chdir("/")
    return os.umask(0o077)


def _prepared(run_dir: str, report: int) -> Supervisor | None:
    """The supervisor, if there is to be one. Whoever waits gets a digit to exit with, and a reason."""
    umask = _detach(report)
    verdict, supervisor = "0", None
    try:
        lock = _take_lock(run_dir)
        if lock is None:
            verdict = f"{ALREADY_SUPERVISED}{run_dir} has a supervisor"
        elif any(os.path.exists(os.path.join(run_dir, name)) for name in (STARTED, EXIT)):
            verdict = f"{ALREADY_STARTED}{run_dir} has had its agent"
        else:
            supervisor = Supervisor(run_dir, lock=lock, umask=umask)
            supervisor.prepare()
    except Exception as error:  # noqa: BLE001 - reported in full to the one who waits
        verdict, supervisor = f"{FAILED}{_described(error)}", None
    _tell(report, verdict)
    return supervisor


def _tell(report: int, verdict: str) -> None:
    try:
        os.write(report, verdict.encode(errors="backslashreplace"))
    except BrokenPipeError:
        return  # the one who waited was killed: the run is wanted all the same
    finally:
        os.close(report)


def _run_detached(run_dir: str, report: int) -> None:
    supervisor = _prepared(run_dir, report)
    if supervisor is None:
        return
    try:
        supervisor.supervise()
    except BaseException:
        with _open_failures(run_dir) as sys.stderr:
            sys.__excepthook__(*sys.exc_info())
        raise


def main(arguments: list[str]) -> int:
    """Detaches a supervisor for the run directory and waits until it is ready, or says why it is not.

    0: it supervises. 3: another one does. 4: the run has had its agent. 1: else. Explained on stderr.
    """
    if len(arguments) != 1:
        print("usage: supervisor.py RUN_DIR", file=sys.stderr)
        return 2
    run_dir = os.path.abspath(arguments[0])
    _occupy_standard_descriptors()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it came ignored, there would be no child to wait for
    reader, report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _run_detached(run_dir, report)
        finally:
            os._exit(0)
    os.close(report)
    os.waitpid(child, 0)
    with open(reader, errors="replace") as file:
        verdict = file.read() or f"{FAILED}the supervisor died before it was ready"
    if verdict[1:]:
        print(f"supervisor: {verdict[1:]}", file=sys.stderr)
    return int(verdict[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
