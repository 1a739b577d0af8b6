"""A really started server, and the system's Chromium in front of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright

from tests.dashboard import talker
from tests.support.client import Client
from tests.support.server import Server

CHROMIUM = os.environ.get("CHROMIUM_BIN") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 30_000

expect.set_options(timeout=PATIENCE)

OpenPage = Callable[..., Page]
AnswerSocket = Callable[[WebSocketRoute], None]


def orders(**wanted: Any) -> str:
    """A description that tells the talking agent what to do."""
    return json.dumps(wanted)


class Line:
    """The page's connection: the test can keep back what the server says (`silent`), or cut it."""

    silent = False

    def __init__(self) -> None:
        self._is_cut = False
        self._sockets: list[WebSocketRoute] = []

    def __call__(self, socket: WebSocketRoute) -> None:
        if self._is_cut:
            socket.close()
            return
        self._sockets.append(socket)
        server = socket.connect_to_server()
        socket.on_message(lambda frame: server.send(frame))
        server.on_message(lambda frame: None if self.silent else socket.send(frame))

    def cut(self) -> None:
        """Closes the connection, and any that the page opens until `mend`."""
        self._is_cut = True
        while self._sockets:
            self._sockets.pop().close()

    def mend(self) -> None:
        self._is_cut = False


def eventually(page: Page, holds: Callable[[], bool], *, patience: float = 30.0) -> None:
    """Looks until it holds. (Playwright's own way needs `eval`, which the page's policy rightly forbids.)"""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("there is no Chromium: install the package chromium or set CHROMIUM_BIN (.ci/run does)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for a module's tests, with limits as everybody has them."""
    environment = {
        "OPENCODE_BIN": str(Path(talker.__file__)),
        "OPENCODE_HOSTNAME": "builder-of-the-night-7f9c6d5b8-x2x4z.eu-central-1.compute.internal",
        "OPENCODE_KILL_GRACE": "1",
        "OPENCODE_MAX_CONCURRENT_AGENTS": "3",
        "OPENCODE_MESSAGES_PER_MINUTE": "100",
        "OPENCODE_SAMPLE_INTERVAL": "1",
    }
    with Server(tmp_path_factory.mktemp("dashboard"), **environment) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Somebody who queues tasks and hears what becomes of them."""
    with server.connect() as connected:
        connected.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        yield connected


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[OpenPage]:
    """Opens the dashboard and waits until it is live; at the end nothing may have gone wrong in any page.

    `clock` lets the test move the page's clock.
    """
    complaints: list[str] = []
    contexts = []

    def opened(
        *,
        path: str = "",
        wait: bool = True,
        answer: AnswerSocket | None = None,
        clock: bool = False,
        **options: Any,
    ) -> Page:
        context = browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if _is_complaint(message.text) else None,
        )
        if clock:
            page.clock.install()
        if answer is not None:
            page.route_web_socket("**/ws", answer)
        page.goto(f"http://127.0.0.1:{server.port}/{path}")
        if wait:
            page.wait_for_selector(".pill[data-kind=live]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _is_complaint(text: str) -> bool:
    """Chromium tells in the console what its security policy refused."""
    return "Content Security Policy" in text or "Refused to" in text
