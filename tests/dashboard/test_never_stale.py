"""What the dashboard does when the server, the connection or the page itself was away."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Line, OpenPage, eventually, orders
from tests.support.axe import serious_findings
from tests.support.client import Client
from tests.support.server import Server

pytestmark = pytest.mark.browser
LINES = 900


def load_all(page: Page) -> None:
    button = page.get_by_role("button", name="Load all")
    if button.is_visible():
        button.click()
    expect(page.locator(".log-count")).not_to_contain_text("loaded")


def log_lines(page: Page) -> list[str]:
    """Every line of the open log, collected by scrolling through it from the top once all of it is loaded."""
    load_all(page)
    lines: list[str] = page.evaluate(
        """async () => {
          const log = document.querySelector('.log');
          const lines = new Map();
          const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          for (let top = 0; top <= log.scrollHeight; top += log.clientHeight / 2) {
            log.scrollTop = top;
            await frame();
            for (const row of log.querySelectorAll('.log-row')) {
              lines.set(Number(row.dataset.id), row.querySelector('.log-text').textContent);
            }
          }
          return [...lines].sort(([one], [other]) => one - other).map(([, text]) => text);
        }"""
    )
    return lines


def memory(page: Page) -> int:
    """Bytes of the page's JavaScript objects, without garbage."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: int = session.send("Runtime.getHeapUsage")["usedSize"]
    return used


@pytest.mark.slow
def test_recovers_by_itself_with_every_log_line_when_the_web_process_is_killed(
    open_page: OpenPage, server: Server, client: Client
) -> None:
    client.start("survivor", description=orders(lines=LINES, rate=100))
    client.until_status("survivor", "running")
    page = open_page(path="#task=survivor", viewport={"width": 1280, "height": 900})
    eventually(page, lambda: page.locator(".log-row").count() > 20)
    server.kill_child("web")
    expect(page.locator("#connection .pill")).not_to_have_attribute("data-kind", "live")
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("#connection .pill")).to_have_attribute("data-kind", "live")
    expect(page.locator("dialog.drawer .badge").first).to_have_text("Completed")
    expect(page.locator("#banner")).to_be_hidden()
    said = [line for line in log_lines(page) if line.startswith("line ")]
    assert said == [f"line {number}" for number in range(LINES)]


def test_says_that_it_is_not_live_as_soon_as_the_server_does_not_answer(
    open_page: OpenPage, server: Server
) -> None:
    page = open_page()
    web = server.child("web")
    os.kill(web, signal.SIGSTOP)
    try:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        pill = page.locator("#connection .pill")
        expect(pill).to_have_attribute("data-kind", "late", timeout=10_000)
        expect(page.locator("#banner")).to_contain_text("What you see is from")
        expect(pill).to_contain_text("Reconnecting in", timeout=20_000)
        assert page.title().startswith("⚠")
    finally:
        os.kill(web, signal.SIGCONT)
    expect(pill).to_have_attribute("data-kind", "live", timeout=60_000)


def test_shows_what_happened_while_it_had_no_connection(open_page: OpenPage, client: Client) -> None:
    line = Line()
    page = open_page(answer=line)
    client.start("seen-running", description=orders(hold=4))
    expect(page.locator('.group.running [data-task="seen-running"]')).to_be_visible()
    line.cut()
    client.start("unseen", description=orders(say=["nobody saw this"]))
    client.until_status("unseen", "completed")
    client.until_status("seen-running", "completed")
    expect(page.locator('.group.running [data-task="seen-running"]')).to_be_visible()
    line.mend()
    expect(page.locator('.group.finished [data-task="unseen"]')).to_be_visible()
    expect(page.locator('.group.finished [data-task="seen-running"]')).to_be_visible()
    expect(page.locator('[data-task="seen-running"]')).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_it_showed_last_can_be_read_without_a_connection(
    open_page: OpenPage, client: Client, scheme: Any
) -> None:
    client.start(f"shown-{scheme}", description=orders(fail="Incorrect API key provided"))
    client.until_status(f"shown-{scheme}", "failed")
    line = Line()
    page = open_page(answer=line, color_scheme=scheme, bypass_csp=True)
    expect(page.locator(f'.group.failed [data-task="shown-{scheme}"]')).to_be_visible()
    line.cut()
    expect(page.locator("body")).to_have_attribute("data-connection", "down")
    expect(page.locator("#banner")).to_be_visible()
    assert serious_findings(page, "body") == []


def test_notices_that_the_page_slept(open_page: OpenPage, client: Client) -> None:
    """What it is told meanwhile is lost, as for a machine that is suspended; its connection seems well."""
    line = Line()
    page = open_page(answer=line, clock=True)
    expect(page.locator(".tile.finished .tile-number")).not_to_have_text("–")
    line.silent = True
    client.start("while-asleep", description=orders(say=["nobody heard this"]))
    client.until_status("while-asleep", "completed")
    # Let the lost updates pass through the page's process before it wakes up.
    page.wait_for_timeout(500)
    line.silent = False
    assert page.locator('[data-task="while-asleep"]').count() == 0
    # As if the lid had been closed for so long; the next list is due after a minute.
    page.clock.fast_forward(9_000)
    expect(page.locator('.group.finished [data-task="while-asleep"]')).to_be_visible(timeout=15_000)


WATCH = """() => {
  window.late = [];
  window.longTasks = [];
  const note = (list) => window.longTasks.push(...list.getEntries().map((one) => one.duration));
  new PerformanceObserver(note).observe({ type: "longtask" });
  let due = performance.now() + 50;
  const look = () => {
    window.late.push(performance.now() - due);
    due = performance.now() + 50;
    setTimeout(look, 50);
  };
  setTimeout(look, 50);
}"""
"""Notes how late the page gets to what it has to do twenty times a second: what a click waits for."""
SCROLL = """async () => {
  const log = document.querySelector('.log');
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const steps = 300;
  let most = 0, wrong = 0;
  for (let step = 0; step <= steps; step += 1) {
    log.scrollTop = (log.scrollHeight - log.clientHeight) * (1 - step / steps);
    await frame();
    await frame();
    const rows = [...log.querySelectorAll('.log-row')];
    most = Math.max(most, rows.length);
    const { top, bottom } = log.getBoundingClientRect();
    const boxes = rows.map((row) => row.getBoundingClientRect());
    const shown = boxes.filter((box) => box.bottom > top && box.top < bottom);
    if (shown.length < Math.floor(log.clientHeight / shown[0].height) - 1) wrong += 1;
  }
  return { most, wrong };
}"""
"""Scrolls through all of the open log: how many rows are in the page, and how often some were missing."""


def assert_quick(page: Page, *, at_least: int) -> None:
    """The page got to its work in time since it was watched: 200 ms at the 95th percentile."""
    late = sorted(page.evaluate("window.late"))
    assert len(late) > at_least, f"the page got to it only {len(late)} times"
    assert late[int(len(late) * 0.95)] < 200, f"late by {late[-10:]} ms"
    long = sorted(page.evaluate("window.longTasks"))
    assert not long or long[int(len(long) * 0.95)] < 200, f"long tasks: {long[-10:]} ms"


@pytest.mark.slow
@pytest.mark.alone
def test_stays_responsive_and_bounded_at_a_thousand_lines_a_second(
    open_page: OpenPage, client: Client
) -> None:
    """For a minute; then as quickly as it comes up to 100 000 lines, through which one scrolls."""
    flood, lines = 60_000, 100_000
    client.start("flood", description=orders(lines=lines, rate=1000, quick_from=flood, quick_rate=3000))
    client.until_status("flood", "running")
    page = open_page(wait=False)
    page.evaluate(WATCH)
    page.wait_for_selector(".pill[data-kind=live]")
    page.locator('[data-task="flood"] .task-title').click()
    before = memory(page)
    expect(page.locator(".log-count")).to_have_text(re.compile(r"^[6-9]\d,\d{3}"), timeout=120_000)
    assert_quick(page, at_least=flood // 1000 * 5)
    last = page.locator(".log-text", has_text=f"line {lines - 1}")
    expect(last.first).to_be_visible(timeout=120_000)
    # All lines are kept as text; a kilobyte for each would be far too much.
    assert memory(page) - before < 5_000_000 + lines * 1000
    load_all(page)
    expect(page.locator(".log-count")).to_have_text(re.compile(r"^100,\d{3} lines$"))
    page.evaluate("() => { window.late = []; window.longTasks = []; }")
    scrolled = page.evaluate(SCROLL)
    assert scrolled["wrong"] == 0
    assert scrolled["most"] < 200
    assert_quick(page, at_least=50)
    assert page.evaluate("document.querySelectorAll('*').length") < 5000
