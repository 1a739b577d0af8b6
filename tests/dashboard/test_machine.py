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
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.dashboard.conftest import Line, OpenPage, eventually, orders
from tests.support.axe import serious_findings
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


def wait_for_samples(page: Page, count: int = 3) -> None:
    """Waits until the page has seen so many samples come that it knows how often they do."""
    newest = page.locator(".card-when time").first
    seen: set[str | None] = set()

    def enough() -> bool:
        seen.add(newest.get_attribute("data-at"))
        return len(seen) > count

    eventually(page, enough)


def test_greys_numbers_that_are_older_than_three_intervals(open_page: OpenPage, server: Server) -> None:
    with server.connect() as client:
        client.start("measured", description=orders(say=["at work"], hold=120))
    page = open_page()
    body = page.locator(".machine .card-body")
    usage = page.locator('[data-task="measured"] .task-usage')
    expect(usage).to_contain_text("CPU")
    for numbers in (body, usage):
        expect(numbers).not_to_have_class(STALE)
    expect(page.locator(".figure-value").nth(3)).to_contain_text("B/s")
    wait_for_samples(page)
    worker = server.child("worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        expect(body).to_have_class(STALE)
        expect(usage).to_have_class(STALE)
        expect(page.locator(".card-when").first).to_contain_text("ago")
        expect(usage).to_contain_text("ago")
    finally:
        os.kill(worker, signal.SIGCONT)
    for numbers in (body, usage):
        expect(numbers).not_to_have_class(STALE)
    expect(usage).not_to_contain_text("ago")
    with server.connect() as client:
        client.request({"type": "cancel_task", "task_id": "measured"})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_old_numbers_can_be_read(open_page: OpenPage, server: Server, scheme: Any) -> None:
    task = f"measured-{scheme}"
    with server.connect() as client:
        client.start(task, description=orders(say=["at work"], hold=120))
    line = Line()
    page = open_page(answer=line, color_scheme=scheme, bypass_csp=True)
    usage = page.locator(f'[data-task="{task}"] .task-usage')
    expect(usage).to_contain_text("CPU")
    wait_for_samples(page)
    line.silent = True
    expect(page.locator(".machine .card-body")).to_have_class(STALE)
    expect(usage).to_have_class(STALE)
    assert serious_findings(page, "body") == []
    with server.connect() as client:
        client.request({"type": "cancel_task", "task_id": task})


def test_tells_how_old_the_list_of_other_agents_is(
    open_page: OpenPage, stranger: subprocess.Popen[bytes]
) -> None:
    line = Line()
    page = open_page(answer=line, clock=True)
    expect(page.locator(".process", has_text=f"pid {stranger.pid}")).to_be_visible()
    card = page.locator(".card", has_text="Other agents on this machine")
    expect(card.locator(".card-when")).to_have_text("")
    line.silent = True
    page.clock.fast_forward(75_000)
    expect(card.locator(".process-list")).to_have_class(STALE)
    expect(card.locator(".card-when")).to_have_text("1 min ago")


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
