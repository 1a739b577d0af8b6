"""What pages of others can do to us from within a real browser: nothing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.dashboard.conftest import ARGUMENTS, CHROMIUM, PATIENCE
from tests.support.stack import Stack

pytestmark = pytest.mark.browser

START = {
    "type": "start_task",
    "task": {"id": "stolen", "type": "testing", "priority": "high", "description": "run this"},
}
ATTACK = """([url, message]) => new Promise((done) => {
  const socket = new WebSocket(url);
  let opened = false;
  setTimeout(() => done("nothing happened"), 15000);
  socket.onopen = () => { opened = true; socket.send(JSON.stringify(message)); };
  socket.onmessage = ({ data }) => {
    const { type } = JSON.parse(data);
    if (type !== "connection_established") done(type);
  };
  socket.onclose = () => done(opened ? "closed" : "refused");
})"""
"""Opens a WebSocket from the page's own origin, sends a message, and tells the answer's type."""


ADMIN_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


class Foreign(http.server.BaseHTTPRequestHandler):
    """A web server of somebody else: every page is empty."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title><iframe name=there></iframe>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def foreign() -> Iterator[int]:
    """The port of somebody else's web server on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for which the attacker's domain leads to this machine: that is DNS rebinding."""
    if not CHROMIUM:
        pytest.skip("there is no Chromium: install the package chromium or set CHROMIUM_BIN (.ci/run does)")
    rebinding = "--host-resolver-rules=MAP *.test 127.0.0.1"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rebinding])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def stack(foreign: int) -> Iterator[Stack]:
    """A server as everybody has it: without authentication; one foreign page is let in, as a control."""
    with Stack(OPENCODE_ALLOWED_ORIGINS=f"http://friend.test:{foreign}") as started:
        yield started


@contextmanager
def a_page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def attack(page: Page, stack: Stack, host: str) -> str:
    answer: str = page.evaluate(ATTACK, [f"ws://{host}:{stack.ports[0]}/ws", START])
    return answer


def stolen(stack: Stack) -> int:
    ((count,),) = stack.query("select count(*) from tasks_task where id = 'stolen'")
    assert isinstance(count, int)
    return count


def test_refuses_the_websocket_of_every_foreign_page(browser: Browser, stack: Stack, foreign: int) -> None:
    # Another port of this very machine, under each of its names, is as foreign as any other page.
    for name in ("127.0.0.1", "localhost", "evil.test"):
        with a_page(browser, f"http://{name}:{foreign}/") as page:
            for host in ("127.0.0.1", "localhost", "evil.test"):
                assert attack(page, stack, host) == "refused", (name, host)
    assert stolen(stack) == 0


def test_refuses_pages_without_an_origin_of_their_own(
    browser: Browser, stack: Stack, foreign: int, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("<!doctype html>")
    for address in (f"file://{tmp_path}/page.html", "data:text/html,<!doctype html>", "about:blank"):
        with a_page(browser, address) as page:
            assert attack(page, stack, "127.0.0.1") == "refused", address
    with a_page(browser, f"http://127.0.0.1:{foreign}/") as page:
        page.evaluate(
            "() => { const frame = document.createElement('iframe'); frame.sandbox = 'allow-scripts';"
            " frame.name = 'sandbox'; document.body.append(frame); }"
        )
        frame = page.frame("sandbox")
        assert frame is not None
        assert frame.evaluate(ATTACK, [f"ws://127.0.0.1:{stack.ports[0]}/ws", START]) == "refused"
    assert stolen(stack) == 0


def test_shows_nothing_under_a_name_that_was_rebound(browser: Browser, stack: Stack) -> None:
    with a_page(browser, "about:blank") as page:
        for path in ("", "asyncapi.json", "admin/login/", "static/dashboard/main.js", "ws"):
            answer = page.goto(f"http://evil.test:{stack.ports[0]}/{path}")
            assert answer is not None
            assert answer.status == 400
            assert answer.text() == "Unknown host\n"
        # The page under that name has our address as its own origin, and is refused for the name.
        assert attack(page, stack, "evil.test") == "refused"
    assert stolen(stack) == 0


def test_gives_foreign_pages_nothing_to_read_frame_or_post(
    browser: Browser, stack: Stack, foreign: int
) -> None:
    ours = f"http://127.0.0.1:{stack.ports[0]}"
    with a_page(browser, f"http://127.0.0.1:{foreign}/") as page:
        for path in ("/", "/asyncapi.json", "/docs/", "/static/dashboard/main.js"):
            read = "url => fetch(url).then(() => 'read', () => 'refused')"
            assert page.evaluate(read, ours + path) == "refused", path
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.evaluate("url => { frames.there.location = url; }", f"{ours}/")
        page.wait_for_event("console", lambda m: "frame" in m.text.lower(), timeout=20_000)
        posted = "url => fetch(url, {method: 'POST', mode: 'no-cors'}).then(() => 'read', () => 'refused')"
        assert page.evaluate(posted, f"{ours}/login/") == "refused"
    assert stack.query("select count(*) from django_session") == [(0,)]


def test_refuses_the_cookie_that_the_browser_sends_along(
    browser: Browser, guarded: Stack, foreign: int
) -> None:
    """Cookies know no ports: a page on another port of this machine has its requests sent with ours."""
    ours = f"http://127.0.0.1:{guarded.ports[0]}"
    with a_page(browser, f"{ours}/") as page:
        assert page.url == f"{ours}/login/?next=/"
        page.fill("#id_username", "root")
        page.fill("#id_password", "battery staple")
        page.click("text=Sign in")
        page.wait_for_url(f"{ours}/")
        page.wait_for_selector(".pill[data-kind=live]", timeout=30_000)
        assert attack(page, guarded, "127.0.0.1") == "task_started"
        guarded.query("delete from tasks_transition where task_id = 'stolen'")
        guarded.query("delete from tasks_task where id = 'stolen'")
        page.goto(f"http://127.0.0.1:{foreign}/")
        cookies = {each["name"] for each in page.context.cookies(f"http://127.0.0.1:{foreign}/")}
        assert "sessionid" in cookies
        assert attack(page, guarded, "127.0.0.1") == "refused"
        page.goto(f"{ours}/")
        # Another page of this browser signs out: this one, which was live, is led to the login.
        page.wait_for_selector(".pill[data-kind=live]")
        other = page.context.new_page()
        other.goto(f"{ours}/")
        other.click("[aria-label='Sign out']")
        other.wait_for_url(f"{ours}/login/")
        page.wait_for_url(f"{ours}/login/?next=%2F")
    assert stolen(guarded) == 0


def test_lets_its_own_page_and_a_listed_one_in(browser: Browser, stack: Stack, foreign: int) -> None:
    """The control: the same attack succeeds where it is allowed, so it is no other thing that refuses it."""
    with a_page(browser, f"http://127.0.0.1:{stack.ports[0]}/") as page:
        assert attack(page, stack, "127.0.0.1") == "task_started"
    with a_page(browser, f"http://friend.test:{foreign}/") as page:
        assert attack(page, stack, "127.0.0.1") == "error"  # it exists already
    stack.query("delete from tasks_transition where task_id = 'stolen'")
    stack.query("delete from tasks_task where id = 'stolen'")


@pytest.mark.parametrize(
    "path", ["/", "/docs/", "/login/", "/admin/", "/admin/access/apikey/", "/admin/tasks/task/"]
)
def test_keeps_to_the_policy_of_every_page_of_its_own(browser: Browser, guarded: Stack, path: str) -> None:
    ours = f"http://127.0.0.1:{guarded.ports[0]}"
    complaints: list[str] = []
    with a_page(browser, f"{ours}/admin/login/?next=/admin/") as page:
        page.fill("#id_username", "root")
        page.fill("#id_password", "battery staple")
        page.press("#id_password", "Enter")
        page.wait_for_url(f"{ours}/admin/")
        page.on(
            "console",
            lambda message: complaints.append(message.text) if "Security Policy" in message.text else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if path == "/login/":
            page.context.clear_cookies()
        answer = page.goto(ours + path, wait_until="networkidle" if path != "/" else "load")
        assert answer is not None
        headers = answer.headers
        assert answer.status == 200
        policy = headers["content-security-policy"]
        assert "default-src" in policy
        if path.startswith("/admin/"):
            # The admin's framework works with scripts in attributes; nothing comes from or goes elsewhere.
            assert policy == ADMIN_POLICY
        else:
            assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert complaints == []
