"""The web process alone, with a broker and a database of its own: tasks stay pending, and it is quiet."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import redis
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from opencode_site.serve.preflight import valkey_server
from tests.isolation import web_server
from tests.support.client import Client
from tests.support.memory import own_memory
from tests.support.migrated import install_database
from tests.support.server import ROOT, free_port
from tests.support.tls import connect

READY_WITHIN = 30.0


class Stack:
    """Broker, database, and as many web processes as asked for; `environment` is OPENCODE_... of the web.

    `tls` is what clients trust where the environment names a certificate.
    """

    def __init__(
        self,
        *,
        webs: int = 1,
        options: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        **environment: str,
    ) -> None:
        self.tls = tls
        # Short and directly below the system's own directory: a Unix socket's path is limited.
        self.directory = Path(tempfile.mkdtemp(prefix="oc-stack-"))
        self.data_dir = self.directory / "var"
        self.data_dir.mkdir(mode=0o700)
        self.options = list(options)
        self.broker_socket = self.data_dir / "valkey.sock"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "opencode_site.settings",
            "SECRET_KEY": os.environ["SECRET_KEY"],
            "OPENCODE_DATA_DIR": str(self.data_dir),
            "OPENCODE_ENV_FILE": os.environ["OPENCODE_ENV_FILE"],
            "OPENCODE_MESSAGES_PER_MINUTE": "0",
            "OPENCODE_TASKS_PER_MINUTE": "0",
            "OPENCODE_MAX_CONNECTIONS": "0",
            **web_server(),
            **environment,
        }
        self.ports = [free_port() for _ in range(webs)]
        self.broker: subprocess.Popen[bytes] | None = None
        self.webs: list[subprocess.Popen[bytes]] = []
        self._recorder: subprocess.Popen[str] | None = None
        self._kept = ExitStack()

    def __enter__(self) -> Stack:
        try:
            install_database(self.data_dir)
            self.start_broker()
            self.webs = [self._launch(port) for port in self.ports]
            for number in range(len(self.ports)):
                self._until_ready(number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for process in (*self.webs, self._recorder, self.broker):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)
        for pipe in (self._recorder.stdin, self._recorder.stdout) if self._recorder else ():
            if pipe is not None:
                pipe.close()
        self._kept.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # The broker

    def start_broker(self) -> None:
        """Starts it, empty; waits until it answers."""
        self.broker = subprocess.Popen(
            [
                *(str(valkey_server()), "--port", "0", "--unixsocket", str(self.broker_socket)),
                *("--save", "", "--appendonly", "no", "--dir", str(self.data_dir), "--loglevel", "warning"),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                with redis.Redis(unix_socket_path=str(self.broker_socket)) as client:
                    client.ping()
            except redis.RedisError:
                assert time.monotonic() < deadline, "the broker does not answer"
                time.sleep(0.01)
            else:
                return

    def kill_broker(self) -> None:
        """SIGKILL, and waits for its end."""
        assert self.broker is not None
        self.broker.kill()
        self.broker.wait(10)

    def record(self, count: int, *, agent: str = "a", level: str = "info", size: int = 20) -> None:
        """Adds lines of `size` letters to the log and tells of them, as a worker does, in one transaction."""
        if self._recorder is None:
            self._recorder = subprocess.Popen(
                [sys.executable, "-m", "tests.support.recorder"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._recorder.stdin is not None
        assert self._recorder.stdout is not None
        line = {"level": level, "message": "x" * size, "agent": agent}
        self._recorder.stdin.write(json.dumps([count, line]) + "\n")
        self._recorder.stdin.flush()
        assert self._recorder.stdout.readline() == "done\n", "the lines were not recorded"

    def groups(self) -> set[str]:
        """The groups that some web process is in just now."""
        with redis.Redis(unix_socket_path=str(self.broker_socket), decode_responses=True) as client:
            names: list[str] = client.pubsub_channels("opencode__group__*")
        return {name.removeprefix("opencode__group__") for name in names}

    # The database

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Runs one statement past the server, and commits."""
        with closing(sqlite3.connect(self.data_dir / "db.sqlite3", timeout=10)) as connection, connection:
            return connection.execute(statement).fetchall()

    def python(self, code: str) -> str:
        """Runs code in a process of its own with the server's settings, like a worker would."""
        done = subprocess.run(
            [sys.executable, "-c", f"import django; django.setup()\n{code}"],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `manage.py` command on this database."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def api_key(self, scope: str, *more: str) -> str:
        """A new API key."""
        done = self.manage("apikey", "create", f"test {scope}", "--scope", scope, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    # The web processes

    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "opencode_site.web", *self.options],
                cwd=ROOT,
                env={**self.environment, "OPENCODE_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _until_ready(self, number: int) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                with connect(self.url(number), open_timeout=10, tls=self.tls):
                    return
            except InvalidStatus:
                return  # it asks for a key
            except OSError:
                running = self.webs[number].poll() is None and time.monotonic() < deadline
                assert running, f"the web process does not answer: {self.log.read_text()}"
                time.sleep(0.02)

    @property
    def log(self) -> Path:
        """What the web processes have written."""
        return self.directory / "web.log"

    def url(self, number: int = 0) -> str:
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.ports[number]}/ws"

    def connect(self, number: int = 0, *, key: str = "", **options: Any) -> Client:
        """A client that has been greeted; `key` is an API key."""
        if key:
            options["additional_headers"] = {"Authorization": f"Bearer {key}"}
        client = Client(self.url(number), tls=self.tls, **options)
        client.wait(lambda message: message["type"] == "connection_established")
        return client

    def keep(self, client: Client) -> Client:
        """Leaves the client connected until the stack ends."""
        return self._kept.enter_context(client)

    @contextmanager
    def socket(self, number: int = 0) -> Iterator[ClientConnection]:
        """A bare connection of the client library, before its greeting has been read."""
        with connect(self.url(number), max_size=None, ping_interval=None) as connection:
            yield connection

    def web_process(self, number: int = 0) -> psutil.Process:
        """To look at."""
        return psutil.Process(self.webs[number].pid)

    def memory(self, number: int = 0) -> int:
        """Bytes that a web process keeps."""
        return own_memory(self.webs[number].pid)

    def run_web(self, number: int = 0) -> tuple[int, str]:
        """Starts a web process that is expected to end by itself; returns its exit code and its words."""
        size = self.log.stat().st_size
        code = self._launch(self.ports[number]).wait(READY_WITHIN)
        return code, self.log.read_bytes()[size:].decode()

    def kill_web(self, number: int = 0) -> None:
        """SIGKILL, and waits for its end."""
        self.webs[number].kill()
        self.webs[number].wait(10)

    def restart_web(self, number: int = 0) -> None:
        """Starts a web process that has ended again, and waits until it answers."""
        self.webs[number] = self._launch(self.ports[number])
        self._until_ready(number)

    def stop_web(self, number: int = 0, *, patience: float = 10.0) -> int:
        """SIGTERM; returns the exit code."""
        self.webs[number].send_signal(signal.SIGTERM)
        return self.webs[number].wait(patience)
