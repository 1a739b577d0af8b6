"""Every command of the documentation is carried out, page by page, beside a running server."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import agent
from tests.support.pseudo_terminal import CTRL_C, PseudoTerminal
from tests.support.server import ROOT, Server
from tests.test_documentation import COMMANDS

PAGES = sorted({page for page, _ in COMMANDS})
MANAGE = [sys.executable, str(ROOT / "manage.py")]
EXAMPLE_PREFIX = "3f2a91c0d4e7"
"""Of a key, in SECURITY.md."""
NEW_PASSWORD = "a new one for Ada"


class Reader:
    """Somebody who follows a page, with a home of their own."""

    def __init__(self, server: Server, home: Path) -> None:
        self.server, self.home = server, home
        (home / "backups").mkdir(parents=True)
        old = home / "old-project" / ".claude"
        old.mkdir(parents=True)
        tasks = {"tasks": [{"id": "of-old", "type": "testing", "description": "d", "status": "pending"}]}
        (old / "tasks.json").write_text(json.dumps(tasks))

    def follow(self, line: str) -> None:
        arguments = [word.replace("~", str(self.home), 1) for word in shlex.split(line)]
        if "--watch" in arguments:
            self._watch(arguments)
        elif arguments[0] == "changepassword":
            self._change_password(arguments)
        else:
            self._run(arguments)

    def _run(self, arguments: list[str]) -> None:
        environment = {**self.server.environment, "HOME": str(self.home)}
        if arguments[0] == "restore":
            # "Into a new installation", as its page says.
            environment["OPENCODE_DATA_DIR"] = str(self.home / "restored")
        if EXAMPLE_PREFIX in arguments:
            arguments[arguments.index(EXAMPLE_PREFIX)] = self._newest_key()
        done = subprocess.run(
            [*MANAGE, *arguments],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"

    def _newest_key(self) -> str:
        listed = subprocess.run(
            [*MANAGE, "apikey", "list"],
            env=self.server.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        prefixes = re.findall(r"^\s*([0-9a-f]{12})\b", listed.stdout, re.MULTILINE)
        assert prefixes, listed.stdout
        return str(prefixes[-1])

    def _terminal(self, arguments: list[str]) -> PseudoTerminal:
        return PseudoTerminal([*MANAGE, *arguments], cwd=str(self.home), env=self.server.environment)

    def _watch(self, arguments: list[str]) -> None:
        with self._terminal(arguments) as terminal:
            terminal.until("in all")
            terminal.press(CTRL_C)
            assert terminal.ends() == 130

    def _change_password(self, arguments: list[str]) -> None:
        with self._terminal(arguments) as terminal:
            for prompt in ("Password:", "Password (again):"):
                terminal.until(prompt)
                terminal.press(NEW_PASSWORD.encode() + b"\n")
            assert terminal.ends() == 0, terminal.screen


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("pages")
    with Server(directory, OPENCODE_BIN=str(Path(agent.__file__)), OPENCODE_KILL_GRACE="1") as server:
        with server.connect() as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
            client.start("ID", description="{}")  # so the pages call one
            client.until_status("ID", "completed")
        yield server


@pytest.mark.parametrize("page", PAGES)
def test_a_reader_can_do_what_the_page_says(server: Server, tmp_path: Path, page: str) -> None:
    reader = Reader(server, tmp_path / "home")
    for each, line in COMMANDS:
        if each == page:
            reader.follow(line)


def test_every_target_of_make_is_one() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    # In code, in text or in a block: `make test`, and lines that begin with it.
    named = {
        name for page in pages for name in re.findall(r"(?:`|\$ |^ {4}|\S=\S+ )make (\w+)", page.read_text())
    }
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named - targets == set()
    assert {"serve", "demo", "test", "bench"} <= named
