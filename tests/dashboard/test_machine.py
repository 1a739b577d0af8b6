"""The machine's side of the dashboard: its load, the agents of others, and a server that tells neither."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.dashboard.conftest import OpenPage, orders
from tests.support.server import Server

pytestmark = pytest.mark.browser
STALE = re.compile("stale")
PERCENT = re.compile(r"^\d{1,3} %$")
BASIC = {
    "ping",
    "start_task",
    "get_task_status",
    "list_tasks",
    "request_log_entries",
    "subscribe_to_updates",
}


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like somebody else's Claude Code."""
    sleep = shutil.which("sleep")
    assert sleep is not None
    claude = shutil.copy(sleep, tmp_path / "claude")
    process = subprocess.Popen([claude, "300"], cwd=tmp_path)
    yield process
    process.kill()
    process.wait()


def test_shows_the_load_and_its_charts(open_page: OpenPage) -> None:
    page = open_page()
    figures = page.locator(".figure-value")
    for place in range(3):
        expect(figures.nth(place)).to_have_text(PERCENT)
    expect(figures.nth(3)).to_contain_text("B/s")
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.locator(".chart canvas").nth(1)).to_be_visible()


def test_greys_numbers_that_are_older_than_three_intervals(open_page: OpenPage, server: Server) -> None:
    with server.connect() as client:
        client.start("measured", description=orders(say=["at work"], hold=120))
    page = open_page()
    body = page.locator(".machine .card-body")
    usage = page.locator('[data-task="measured"] .task-usage')
    expect(usage).to_contain_text("CPU")
    for numbers in (body, usage):
        expect(numbers).not_to_have_class(STALE)
    # By then it has seen several samples and knows their interval.
    expect(page.locator(".figure-value").nth(3)).to_contain_text("B/s")
    worker = server.child("worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        expect(body).to_have_class(STALE)
        expect(usage).to_have_class(STALE)
    finally:
        os.kill(worker, signal.SIGCONT)
    for numbers in (body, usage):
        expect(numbers).not_to_have_class(STALE)
    with server.connect() as client:
        client.request({"type": "cancel_task", "task_id": "measured"})


def test_ends_the_process_of_somebody_elses_agent_after_asking(
    open_page: OpenPage, stranger: subprocess.Popen[bytes]
) -> None:
    page = open_page()
    row = page.locator(".process", has_text=f"pid {stranger.pid}")
    expect(row).to_contain_text("Claude Code")
    row.get_by_role("button", name="End").click()
    page.get_by_role("button", name="Keep it").click()
    assert stranger.poll() is None
    row.get_by_role("button", name="End").click()
    page.get_by_role("button", name="End the process").click()
    expect(page.locator(".toast")).to_contain_text(f"Process {stranger.pid} has ended.")
    assert stranger.wait(10) == -signal.SIGTERM
    expect(row).to_have_count(0)


def test_says_why_a_process_could_not_be_ended(
    open_page: OpenPage, stranger: subprocess.Popen[bytes]
) -> None:
    page = open_page()
    row = page.locator(".process", has_text=f"pid {stranger.pid}")
    row.get_by_role("button", name="End").click()
    stranger.kill()
    stranger.wait()
    page.get_by_role("button", name="End the process").click()
    expect(page.locator(".toast.failed")).to_contain_text(f"{stranger.pid}")
    expect(page.locator(".toast")).to_have_count(1)


def test_works_with_a_server_that_knows_only_tasks_and_logs(open_page: OpenPage, server: Server) -> None:
    def without_the_rest(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()

        def pass_on(frame: str | bytes) -> None:
            request = json.loads(frame)
            channels = set(request.get("channels", [])) - {"task_status", "log_entries"}
            if request["type"] in BASIC and not channels:
                upstream.send(frame)
                return
            code = "INVALID_FIELD_VALUE" if channels else "UNKNOWN_MESSAGE_TYPE"
            error = {"type": "error", "code": code, "message": "not here", "details": {}}
            socket.send(json.dumps({**error, "request_id": request.get("request_id")}))

        socket.on_message(pass_on)
        upstream.on_message(lambda frame: socket.send(frame))

    with server.connect() as client:
        client.start("plain", description=orders(say=["still here"], hold=4))
        page = open_page(answer=without_the_rest)
        expect(page.locator('[data-task="plain"] .task-said')).to_have_text("still here")
        expect(page.get_by_text("This server does not measure its machine.")).to_be_visible()
        expect(page.get_by_text("This server does not look for other agents.")).to_be_visible()
