"""One process of the server: started, watched, started again when it dies, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opencode_site.serve import leash
from opencode_site.serve.logs import LogFile
from tasks.execution.supervisor import identity

FIRST_DELAY, LONGEST_DELAY = 0.2, 3.0
"""Seconds before a process that died is started again; doubled each time up to the second number."""
HEALTHY_AFTER = 10.0
"""Seconds after which a process counts as well: the delay begins anew."""
LINE_LIMIT = 16 * 1024
LAST_WORDS = 300
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `patience` is the seconds from SIGTERM to SIGKILL."""

    name: str
    argv: tuple[str, ...]
    log: Path
    patience: float
    directory: Path
    descriptors: tuple[int, ...] = ()


class Child:
    """Owns the process of one program, one at a time.

    `say` gets a line for a person when something happens, `changed` is called when there is another process,
    and `show`, if given, gets every line that the program writes.
    """

    def __init__(
        self,
        program: Program,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None],
        show: Callable[[str, str], None] | None = None,
    ) -> None:
        self.program = program
        self.log = LogFile(program.log)
        self.restarts = 0
        self.identity: str | None = None
        self._say, self._changed, self._show = say, changed, show
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The latest process, alive or not; None before the first."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def keep(self) -> None:
        """Runs the program, again and again, until `stop` is called."""
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            began = loop.time()
            how = await self._run_once()
            if self._stopping.is_set():
                return
            if loop.time() - began >= HEALTHY_AFTER:
                delay = FIRST_DELAY
            self._say(f"{self.program.name} {how}; it is started again in {delay:g} s")
            await _either(self._stopping, delay)
            delay = min(delay * 2, LONGEST_DELAY)
            self.restarts += 1

    async def _run_once(self) -> str:
        """Returns how it ended, in words."""
        size = self.log.size()
        try:
            process = await self._start()
        except OSError as error:
            return f"could not be started: {error.strerror}"
        if self._stopping.is_set():
            # `stop` came while the process was being made and did not see it.
            process.terminate()
        if process.stdout is not None:
            await self._show_output(process.stdout)
        code = await process.wait()
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        last = self.log.last_line(since=size)
        return f"ended with exit code {code}" + (f" ({last[:LAST_WORDS]})" if last else "")

    async def _start(self) -> asyncio.subprocess.Process:
        self.log.rotate()
        log = self.log.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self.program.argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self._show else log,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self.program.directory,
                pass_fds=self.program.descriptors,
                # Ctrl-C in the terminal is for us alone: we end the processes one after the other.
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._process, self.identity = process, identity(process.pid)
        self._changed()
        return process

    async def _show_output(self, output: asyncio.StreamReader) -> None:
        show = self._show or (lambda _name, _line: None)
        rest = b""
        log = self.log.open()
        try:
            while chunk := await output.read(_CHUNK):
                os.write(log, chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LINE_LIMIT:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    show(self.program.name, line[:LINE_LIMIT].decode(errors="replace"))
        finally:
            os.close(log)

    async def stop(self, hurry: asyncio.Event) -> None:
        """SIGTERM, then SIGKILL when the patience is over or `hurry` is set; returns when it is gone."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        gone = asyncio.ensure_future(process.wait())
        if not hurry.is_set():
            process.terminate()
            hurried = asyncio.ensure_future(hurry.wait())
            await asyncio.wait(
                {gone, hurried}, timeout=self.program.patience, return_when=asyncio.FIRST_COMPLETED
            )
            hurried.cancel()
        if not gone.done():
            if not hurry.is_set():
                self._say(f"{self.program.name} did not end within {self.program.patience:g} s and is killed")
            process.kill()
        await gone


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, for so many seconds at most."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()
