"""A command in a real terminal, with somebody at the keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

from tests.support.waiting import eventually

CTRL_C = b"\x03"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\r\x00]")


class PseudoTerminal:
    """A terminal of so many columns and rows in which a command runs until the end of the `with` block."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: str, env: Mapping[str, str], columns: int = 80, rows: int = 40
    ) -> None:
        self._arguments, self._cwd = list(arguments), cwd
        self._env = {**env, "TERM": "xterm-256color"}
        self._env.pop("COLUMNS", None)
        self._size = struct.pack("HHHH", rows, columns, 0, 0)
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._written = b""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, self._size)
        self._process = subprocess.Popen(
            self._arguments,
            cwd=self._cwd,
            env=self._env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            # Its controlling terminal is the first one that the leader of a new session opens.
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:
                return  # nobody has it open any more
            with self._lock:
                self._written += data
                self._stream.feed(data)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def ends(self, *, patience: float = 30.0) -> int:
        """The exit code, when everything that was written is read."""
        code = self._process.wait(patience)
        self._reader.join(patience)
        return code

    @property
    def screen(self) -> str:
        """What one sees, without the empty ends of lines."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    @property
    def written(self) -> str:
        """Everything that came, with its escapes."""
        with self._lock:
            return self._written.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Everything that came, without its escapes."""
        return ESCAPE.sub("", self.written).split("\n")

    def until(self, text: str) -> None:
        """Waits until one sees the text."""
        eventually(f"{text!r} is not on the screen:\n{self.screen}", lambda: text in self.screen, patience=30)
