"""The server as a whole: the order in which its processes start and end, and what happens in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from typing import Any

from opencode_site.serve import agents, database, readiness, screen
from opencode_site.serve.child import Child, Program
from opencode_site.serve.status import StatusFile

READY_PATIENCE = 30.0
"""Seconds after which the wait for a process is explained; it goes on."""
WEB_PATIENCE, WORKER_PATIENCE, VALKEY_PATIENCE = 5.0, 10.0, 3.0
ROTATION_INTERVAL = 60.0
WORKER_THREADS = 4
"""The worker's jobs only look and hand on; the longest waits for a kill's grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that the server needs to know; the values are right by type."""

    version: str
    data_dir: Path
    logs_dir: Path
    project_root: Path
    host: str
    port: int
    tls: bool
    hostname: str
    queues: tuple[str, ...]
    valkey: tuple[Path, Path] | None
    """The bundled broker's executable and socket; None if the broker is somebody else's."""
    admin_name: str
    admin_password: str
    agents_found: Callable[[], dict[str, str | None]]
    stop_agents: bool = False
    verbose: bool = False


class Server:
    """Starts, watches and ends the processes of one data directory. `say` gets lines for a person."""

    def __init__(
        self, options: Options, *, listener: socket, status: StatusFile, say: Callable[[str], None]
    ) -> None:
        self.options, self._listener, self._status, self._say = options, listener, status, say
        # Nothing but loading code has happened until now, so that the CPU time is how long we have lived.
        self._began = time.monotonic() - time.process_time()
        self._started_at = datetime.now(UTC)
        self._migrated = self._ready = False
        self._children: dict[str, Child] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Returns when everything has been stopped. Raises `CannotServe`."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signum, self._interrupted)
        try:
            await self._unless_stopped(self._start())
            await self._unless_stopped(self._watch())
        finally:
            await self._shut_down()

    def _interrupted(self) -> None:
        if self._stop.is_set():
            self._say("Hurrying.")
            self._hurry.set()
        else:
            self._say("\nStopping; once more to hurry.")
            self._stop.set()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Does the work until it is done, a keeper breaks (a bug of ours), or the server is to stop."""
        doing = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({doing, stopping, *self._keepers}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for keeper in self._keepers:
            if keeper.done():
                keeper.result()
        if doing.done():
            doing.result()
        doing.cancel()

    # --- Starting -------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        if self.options.valkey:
            self._launch(self._valkey_program(*self.options.valkey))
        await asyncio.to_thread(database.migrate)
        self._migrated = True
        if self.options.valkey:
            path = self.options.valkey[1]
            await self._told(
                self._children["valkey"], readiness.until(lambda: readiness.valkey_answers(path))
            )
        web, worker = self._launch(self._web_program()), self._launch(self._worker_program())
        _, _, account = await asyncio.gather(
            self._told(web, readiness.until(self._web_answers)),
            self._told(worker, readiness.until(lambda: self._worker_reports(worker))),
            asyncio.to_thread(
                database.create_admin, name=self.options.admin_name, password=self.options.admin_password
            ),
        )
        self._ready = True
        self._write_status()
        self._say(self._screen() + (f"\n{screen.account(account)}" if account else ""))

    async def _web_answers(self) -> bool:
        options = self.options
        return await readiness.web_answers(options.host, options.port, tls=options.tls)

    async def _worker_reports(self, worker: Child) -> bool:
        pid = worker.pid
        return pid is not None and await asyncio.to_thread(agents.worker_reports, pid, self._started_at)

    async def _told(self, child: Child, ready: Coroutine[Any, Any, None]) -> None:
        """Waits until the process is ready, and says that it does when it takes long."""
        waiting = asyncio.ensure_future(ready)
        while not (await asyncio.wait({waiting}, timeout=READY_PATIENCE))[0]:
            self._say(f"{child.program.name} is not ready yet; see {child.program.log}")
        waiting.result()

    def _screen(self) -> str:
        return screen.ready(
            version=self.options.version,
            seconds=time.monotonic() - self._began,
            url=screen.http_url(self.options.host, self.options.port, tls=self.options.tls),
            data_dir=self.options.data_dir,
            agents=self.options.agents_found(),
            stop_agents=self.options.stop_agents,
        )

    def _launch(self, program: Program) -> Child:
        child = Child(
            program,
            say=self._say,
            changed=self._write_status,
            show=self._show if self.options.verbose else None,
        )
        self._children[program.name] = child
        self._keepers.append(asyncio.ensure_future(child.keep()))
        return child

    def _show(self, name: str, line: str) -> None:
        self._say(f"{name:<6} | {line}")

    # --- What is started ------------------------------------------------------------------------------------

    def _program(self, name: str, *argv: str, patience: float, descriptors: tuple[int, ...] = ()) -> Program:
        return Program(
            name=name,
            argv=argv,
            log=self.options.logs_dir / f"{name}.log",
            patience=patience,
            directory=self.options.project_root,
            descriptors=descriptors,
        )

    def _valkey_program(self, executable: Path, path: Path) -> Program:
        """Memory only: the database is the truth, so a broker that starts empty costs nothing."""
        return self._program(
            "valkey",
            str(executable),
            *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
            *(
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                str(self.options.data_dir),
                "--loglevel",
                "warning",
            ),
            patience=VALKEY_PATIENCE,
        )

    def _web_program(self) -> Program:
        """It takes our socket: connections made while it is restarted wait and are not refused."""
        descriptor = self._listener.fileno()
        return self._program(
            "web",
            *(sys.executable, "-m", "opencode_site.web", "--fd", str(descriptor)),
            patience=WEB_PATIENCE,
            descriptors=(descriptor,),
        )

    def _worker_program(self) -> Program:
        """Without `mingle`, which waits a second for other workers at each start."""
        return self._program(
            "worker",
            *(sys.executable, "-m", "celery", "--quiet", "--app", "opencode_site.serve.worker", "worker"),
            *(
                "--pool",
                "threads",
                "--concurrency",
                str(WORKER_THREADS),
                "--queues",
                ",".join(self.options.queues),
            ),
            *("--hostname", f"opencode@{self.options.hostname}", "--loglevel", "INFO"),
            *("--without-mingle", "--without-gossip", "--without-heartbeat"),
            patience=WORKER_PATIENCE,
        )

    # --- Watching and stopping ------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(ROTATION_INTERVAL)
            for child in self._children.values():
                await asyncio.to_thread(child.log.rotate)

    def _write_status(self) -> None:
        """Called at each change of a process, so that `serve.json` is right whenever somebody reads it."""
        options = self.options
        self._status.write(
            {
                "pid": os.getpid(),
                "version": options.version,
                "ready": self._ready,
                "started_at": self._started_at.isoformat(),
                "url": screen.http_url(options.host, options.port),
                "children": {
                    name: {"pid": child.pid, "identity": child.identity, "restarts": child.restarts}
                    for name, child in self._children.items()
                    if child.pid is not None  # the next one is about to be started
                },
            }
        )

    async def _shut_down(self) -> None:
        """Web first, so that nothing new comes in; the broker last. Agents are nobody's children here."""
        asked = self._stop.is_set()
        for name in ("web", "worker"):
            if name in self._children:
                await self._children[name].stop(self._hurry)
        ending = await self._account_for_agents() if self._migrated else "Stopped."
        if "valkey" in self._children:
            await self._children["valkey"].stop(self._hurry)
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._status.remove()
        if asked:
            self._say(ending)

    async def _account_for_agents(self) -> str:
        """Stops this host's agents if that was asked for; returns what to say about them."""
        running = await asyncio.to_thread(agents.count_running)
        if not (running and self.options.stop_agents):
            return screen.left_running(running)
        self._say(f"Stopping {running} agent{'' if running == 1 else 's'} ...")
        left = await asyncio.to_thread(agents.stop_all)
        return screen.agents_stopped(asked=running, left=left)
