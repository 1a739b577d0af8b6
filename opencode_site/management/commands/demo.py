"""`manage.py demo`: a real agent at work, without a key."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from django.conf import settings

from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode, Failure
from opencode_site.cli.options import at_least, seconds
from opencode_site.demo.model_server import opencode_config, opencode_env
from opencode_site.demo.story import MODELS, PROVIDER, SCENES, Player, Scene, make_project
from opencode_site.serve import leash
from opencode_site.serve.status import StatusFile
from tasks.execution.launcher import agents_found

PORT = 8081
"""Beside a server that runs on the usual one."""
READY_WITHIN, STOP_WITHIN = 60.0, 30.0
"""Seconds."""
MAX_PACE = 60.0


class Command(command.Command):
    help = """
        Shows a real agent at work, without a key or an account: a server of its own with three tasks for the
        opencode that is installed here, in a small project. Only the model is scripted, and answers on this
        machine; nothing goes over the network. Your own server, tasks and settings are not touched, and at
        the end (Ctrl-C) everything is taken away again.
        """
    usage = "[--port N] [--once]"
    examples = (
        ("demo", "look on here and in the browser, until Ctrl-C"),
        ("demo --once --pace 0", "as quickly as it goes, and end"),
    )
    exits = (ExitCode.FAILED, ExitCode.REFUSED)
    meanings = MappingProxyType(
        {
            ExitCode.FAILED: "a task was not completed",
            ExitCode.REFUSED: "the demo's server did not start, or refused a task",
            ExitCode.INTERRUPTED: "interrupted by Ctrl-C; everything is taken away",
        }
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--port", default=str(PORT), metavar="N", help=f"of the dashboard; {PORT} by default, 0: any")
        add("--pace", default="1.5", metavar="SECONDS", help="that the model takes for an answer; 1.5")
        add("--once", action="store_true", help="end when the tasks have ended; the exit code is the outcome")

    def work(self, options: dict[str, Any]) -> ExitCode:
        port = at_least(options["port"], 0, name="port") or _free_port()
        pace = seconds(options["pace"], most=MAX_PACE, name="pace")
        executable = agents_found()["opencode"]
        if executable is None:
            raise Failure(
                "there is no opencode here to show: install it with `npm install -g opencode-ai`, "
                "or set OPENCODE_BIN",
                ExitCode.BAD_INPUT,
            )
        # A SIGTERM takes everything away as well.
        signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oc-demo-")))
            model = stack.enter_context(Player(pace=pace))
            stage = Stage(directory, port=port, model_url=model.url, executable=executable)
            server = stack.enter_context(stage.served())
            failed = self._play(stage)
            if not options["once"]:
                self._say(f"\n  All have ended. {stage.url} and {stage.project} stay until Ctrl-C.\n")
                server.wait()
            return ExitCode.FAILED if failed else ExitCode.DONE

    def _play(self, stage: Stage) -> bool:
        """Whether a task has not been completed."""
        for scene in SCENES:
            stage.submit(scene)
        self._say(f"\n  Three tasks are queued. Look on at {stage.url}, or here:\n")
        stage.tail([scene.task_id for scene in SCENES])
        return stage.failed()

    def _say(self, text: str) -> None:
        self.out.print(text, soft_wrap=True)
        self.out.file.flush()


class Stage:
    """The demo's own server, with its data and its project in a directory that is taken away."""

    def __init__(self, directory: Path, *, port: int, model_url: str, executable: str) -> None:
        self.project = directory / "tally"
        self.url = f"http://localhost:{port}/"
        self._data_dir = directory / "var"
        config = opencode_config(model_url, provider=PROVIDER, models=MODELS, default=MODELS[0])
        self._environment = {
            **{name: value for name, value in os.environ.items() if not _ours(name)},
            **opencode_env(directory / "opencode", config),
            # Where opencode leaves some MB at each start, and npm its own.
            "TMPDIR": str(directory / "tmp"),
            "HOME": str(directory),
            "OPENCODE_ENV_FILE": os.devnull,
            "OPENCODE_DATA_DIR": str(self._data_dir),
            "OPENCODE_PROJECT_DIR": str(self.project),
            "OPENCODE_PORT": str(port),
            "OPENCODE_BIN": executable,
            "OPENCODE_MAX_CONCURRENT_AGENTS": "2",
            "NO_PROXY": "localhost,127.0.0.1",
            "no_proxy": "localhost,127.0.0.1",
        }

    @contextmanager
    def served(self) -> Iterator[subprocess.Popen[bytes]]:
        """A server that is ready, until the end of the block. Raises `Failure`."""
        make_project(self.project)
        Path(self._environment["TMPDIR"]).mkdir()
        server = self._start("serve", "--stop-agents")
        try:
            self._until_ready(server)
            yield server
        finally:
            _end(server)

    def _until_ready(self, server: subprocess.Popen[bytes]) -> None:
        """By its own word: on its port somebody else's server may answer."""
        deadline = time.monotonic() + READY_WITHIN
        while not StatusFile(self._data_dir).is_ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise Failure("the demo's server did not start, see above", ExitCode.REFUSED)
            time.sleep(0.1)

    def submit(self, scene: Scene) -> None:
        """Queues the scene's task. Raises `Failure`."""
        after = ["--depends-on", scene.after] if scene.after else []
        self._ask(
            *("submit", "--id", scene.task_id, "--type", "demo", "--priority", scene.priority),
            *("--model", f"{PROVIDER}/{scene.task_id}", *after, "--", scene.asks),
        )

    def tail(self, ids: Sequence[str]) -> None:
        """Shows the log of the tasks until they have ended."""
        shown = self._start("tail", "--level", "info", "--lines", "1000", *ids)
        try:
            shown.wait()
        finally:
            _end(shown)

    def failed(self) -> bool:
        """Whether a task has not been completed. Raises `Failure`."""
        return any(task["status"] != "completed" for task in json.loads(self._ask("tasks", "--json")))

    def _ask(self, *arguments: str) -> str:
        """What a command beside the server says. Raises `Failure`."""
        done = subprocess.run(
            _manage(*arguments),
            env=self._environment,
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failure(f"the demo's server has refused `{arguments[0]}`: {done.stderr}", ExitCode.REFUSED)
        return done.stdout

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        # On a leash it ends when we do, however that is. In a group of its own it does not hear of a Ctrl-C,
        # which is for us: what we have started is ended in order.
        return subprocess.Popen(
            [sys.executable, leash.__file__, str(os.getpid()), *_manage(*arguments)],
            env=self._environment,
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            process_group=0,
        )


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]


def _ours(name: str) -> bool:
    """Whether a variable is a setting of the user's own server, which is not the demo's."""
    return name.startswith("OPENCODE_") or name in {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
