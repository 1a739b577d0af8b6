"""The dashboard in a browser, against a really running server with real runs."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.dashboard.conftest import OpenPage, eventually, orders
from tests.support.axe import serious_findings
from tests.support.client import Client

pytestmark = pytest.mark.browser
EVIL = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> "
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \u202eesrever"
)
HEBREW = "שלום עולם"


def card(page: Page, task_id: str) -> Locator:
    return page.locator(f'[data-task="{task_id}"]')


def group(page: Page, name: str) -> Locator:
    return page.locator(f".group.{name}")


def open_task(page: Page, task_id: str) -> Locator:
    card(page, task_id).locator(".task-title").click()
    return page.locator("dialog.drawer")


def log_texts(drawer: Locator) -> list[str]:
    return drawer.locator(".log-row .log-text").all_inner_texts()


def test_shows_a_task_through_its_life_without_a_reload(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    client.start("life", description=orders(say=["I am at work"], todos=[1, 4], hold=3), priority="high")
    running = group(page, "running").locator('[data-task="life"]')
    expect(running).to_be_visible()
    expect(running.locator(".task-said")).to_have_text("todos: 1 of 4 done")
    expect(running.locator(".percent")).to_have_text("25 %")
    expect(running.locator(".priority")).to_have_text("High")
    expect(group(page, "finished").locator('[data-task="life"]')).to_contain_text("Completed")
    expect(running).to_have_count(0)


def test_shows_what_runs_already_when_it_is_opened(open_page: OpenPage, client: Client) -> None:
    client.start("before", description=orders(say=["said before the page came"], hold=6))
    client.until_status("before", "running")
    page = open_page()
    expect(card(page, "before").locator(".task-said")).to_have_text("said before the page came")


def test_says_why_a_task_failed_and_starts_it_again(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    client.start("broken", description=orders(fail="Incorrect API key provided"))
    failed = group(page, "failed").locator('[data-task="broken"]')
    expect(failed).to_contain_text("Incorrect API key provided")
    expect(failed.locator(".badge")).to_have_text("Failed · auth")
    failed.get_by_role("button", name="Retry").click()
    expect(page.locator(".toast")).to_contain_text("broken is queued again.")
    expect(failed.get_by_text("1 retry")).to_be_visible()


def test_says_why_each_task_waits(open_page: OpenPage, client: Client) -> None:
    client.start("first", description=orders(hold=30))
    client.start("second", description=orders(), dependencies=["first"])
    page = open_page()
    expect(group(page, "queued").locator('[data-task="second"]')).to_contain_text("It waits for 'first'.")
    client.request({"type": "cancel_task", "task_id": "first"})
    expect(card(page, "second").locator(".badge")).to_have_text("Blocked", timeout=30_000)


def test_asks_before_it_cancels_a_running_task(open_page: OpenPage, client: Client) -> None:
    client.start("long", description=orders(hold=60))
    client.until_status("long", "running")
    page = open_page()
    card(page, "long").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Keep it running").click()
    assert client.task("long")["status"] == "running"
    card(page, "long").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the task").click()
    expect(card(page, "long").locator(".badge")).to_have_text("Cancelled")
    assert client.task("long")["status"] == "cancelled"


def test_shows_text_from_agents_as_text(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    client.start("evil", description=orders(say=[HEBREW, EVIL], hold=4, name="<b>bold</b>"))
    expect(card(page, "evil").locator(".task-said")).to_contain_text("<script>window.hacked = 1</script>")
    expect(card(page, "evil")).to_contain_text('"name": "<b>bold</b>"')
    drawer = open_task(page, "evil")
    expect(drawer.locator(".log-row").filter(has_text="red")).to_be_visible()
    texts = log_texts(drawer)
    joined = " ".join(texts)
    assert "<img src=x onerror=" in joined
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", joined)
    hebrew = drawer.locator(".log-text", has_text=HEBREW)
    assert hebrew.evaluate("e => [getComputedStyle(e).direction, getComputedStyle(e).unicodeBidi]") == [
        "rtl",
        "isolate",
    ]
    assert page.evaluate("window.hacked") is None
    assert page.locator(".log-row script, .log-row img, .task b, .drawer b").count() == 0


def test_follows_a_log_until_one_scrolls_up(open_page: OpenPage, client: Client) -> None:
    client.start("chatty", description=orders(lines=1200, rate=100))
    client.until_status("chatty", "running")
    page = open_page()
    drawer = open_task(page, "chatty")
    log = drawer.locator(".log")
    expect(drawer.locator(".log-row").nth(20)).to_be_visible()
    at_end = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
    eventually(page, lambda: log.evaluate("e => e.scrollHeight") > 6000)
    assert log.evaluate(at_end) <= 40
    log.hover()
    page.mouse.wheel(0, -2000)
    expect(drawer.locator(".log-jump")).to_be_visible()
    top, first = log.evaluate("e => e.scrollTop"), log_texts(drawer)[0]
    expect(drawer.locator(".log-jump")).to_contain_text(re.compile(r"\d+ new"))
    assert (log.evaluate("e => e.scrollTop"), log_texts(drawer)[0]) == (top, first)
    drawer.locator(".log-jump").click()
    expect(drawer.locator(".log-jump")).to_be_hidden()
    eventually(page, lambda: log.evaluate(at_end) <= 40)


def test_filters_searches_and_downloads_a_log(open_page: OpenPage, client: Client) -> None:
    client.start("files", description=orders(lines=1500, rate=100_000, say=["needle in the hay"]))
    client.until_status("files", "completed")
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    drawer = open_task(page, "files")
    expect(drawer.locator(".log-count")).to_contain_text("loaded lines")
    drawer.get_by_role("button", name="Load all").click()
    expect(drawer.locator(".log-count")).to_have_text(re.compile(r"^1,50\d lines$"))
    drawer.get_by_label("Search in the log").fill("NEEDLE")
    expect(drawer.locator(".log-row")).to_have_count(1)
    expect(drawer.locator(".log-row mark")).to_have_text("needle")
    drawer.get_by_label("Search in the log").fill("")
    drawer.get_by_label("Level").select_option("error")
    expect(drawer.locator(".log-notice")).to_have_text("No line matches.")
    drawer.get_by_label("Level").select_option("debug")
    drawer.get_by_label("Search in the log").fill("needle")
    expect(drawer.locator(".log-row")).to_have_count(1)
    drawer.get_by_role("button", name="Copy the lines shown").click()
    expect(page.locator(".toast")).to_contain_text("1 line copied.")
    assert page.evaluate("navigator.clipboard.readText()").rstrip().endswith("needle in the hay")
    # All of it, whatever is shown.
    with page.expect_download() as download:
        drawer.get_by_role("button", name="Download the log").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    said = [line.split(" ", 2)[2].strip() for line in lines if re.search(r" line \d+$", line)]
    assert said == [f"line {number}" for number in range(1500)]


def test_shows_the_runs_of_a_task_and_what_they_cost(open_page: OpenPage, client: Client) -> None:
    client.start("costly", description=orders(say=["done"]))
    client.until_status("costly", "completed")
    drawer = open_task(page := open_page(), "costly")
    drawer.get_by_role("tab", name="Runs").click()
    expect(drawer.locator(".runs-total")).to_have_text("One run, 1,050 tokens, $0.0123 in all")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(card(page, "costly").locator(".task-title")).to_be_focused()


def test_opens_the_task_that_the_address_names(open_page: OpenPage, client: Client) -> None:
    client.start("linked", description=orders(say=["found by its address"]))
    client.until_status("linked", "completed")
    page = open_page(path="#task=linked")
    expect(page.locator(".log-text", has_text="found by its address")).to_be_visible()


def test_is_used_by_keyboard_alone(open_page: OpenPage, client: Client) -> None:
    client.start("keys", description=orders(say=["keyed"]))
    client.until_status("keys", "completed")
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("keys")
    expect(page.locator(".task")).to_have_count(1)
    page.locator("#search").blur()
    page.keyboard.press("j")
    expect(card(page, "keys").locator(".task-title")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog.drawer h2")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    expect(page.locator("#search")).to_have_value("")
    for key, name in enumerate(("running", "queued", "failed", "finished"), start=1):
        page.keyboard.press(str(key))
        expect(page.locator(f".tile.{name}")).to_have_attribute("aria-pressed", "true")
        hidden = {"running", "queued", "failed", "finished"} - {name}
        for other in hidden:
            expect(group(page, other)).to_be_hidden()
        expect(group(page, name)).to_be_visible()
    page.keyboard.press("4")
    expect(page.locator(".tile.finished")).to_have_attribute("aria-pressed", "false")


def test_goes_from_task_to_task_and_through_a_log_by_keyboard(open_page: OpenPage, client: Client) -> None:
    for name in ("walk-1", "walk-2"):
        client.start(name, description=orders(lines=200))
        client.until_status(name, "completed")
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("walk-")
    expect(page.locator(".task")).to_have_count(2)
    page.locator("#search").blur()
    titles = page.locator(".task .task-title")
    for key, place in (("j", 0), ("j", 1), ("j", 1), ("k", 0), ("k", 0)):
        page.keyboard.press(key)
        expect(titles.nth(place)).to_be_focused()
    page.keyboard.press("Enter")
    drawer = page.locator("dialog.drawer")
    expect(drawer.locator(".log-text", has_text="line 199")).to_be_visible()
    drawer.locator(".log").evaluate("e => { e.scrollTop = 0; }")
    expect(drawer.locator(".log-jump")).to_be_visible()
    page.keyboard.press("f")
    expect(drawer.locator(".log-text", has_text="line 199")).to_be_visible()
    expect(drawer.locator(".log-jump")).to_be_hidden()
    page.keyboard.press("/")
    expect(drawer.get_by_label("Search in the log")).to_be_focused()
    page.keyboard.type("line 42")
    expect(drawer.locator(".log-row")).to_have_count(1)


def test_shows_only_the_errors_of_a_log(open_page: OpenPage, client: Client) -> None:
    client.start("levels", description=orders(say=["all is well"], fail="Incorrect API key provided"))
    client.until_status("levels", "failed")
    page = open_page()
    drawer = open_task(page, "levels")
    expect(drawer.locator(".log-row", has_text="all is well")).to_be_visible()
    drawer.get_by_label("Level").select_option("error")
    expect(drawer.locator(".log-row", has_text="all is well")).to_have_count(0)
    expect(drawer.locator(".log-row", has_text="Incorrect API key provided").first).to_be_visible()
    expect(drawer.locator(".log-row:not(.error)")).to_have_count(0)
    drawer.get_by_label("Level").select_option("info")
    expect(drawer.locator(".log-row", has_text="all is well")).to_be_visible()


def test_cancels_retries_and_filters_by_keyboard_and_priority(open_page: OpenPage, client: Client) -> None:
    client.start("waits-for-it", description=orders(hold=60))
    client.start("keyed", description=orders(), dependencies=["waits-for-it"], priority="high")
    page = open_page()
    expect(card(page, "waits-for-it")).to_be_visible()
    page.get_by_label("Priority", exact=True).select_option("high")
    expect(card(page, "waits-for-it")).to_have_count(0)
    page.keyboard.press("2")
    expect(group(page, "queued").locator('[data-task="keyed"]')).to_be_visible()
    card(page, "keyed").locator(".task-title").focus()
    page.keyboard.press("c")
    expect(page.locator(".toast")).to_contain_text("keyed is cancelled.")
    page.keyboard.press("0")
    expect(page.get_by_label("Priority", exact=True)).to_have_value("")
    expect(card(page, "waits-for-it")).to_be_visible()
    card(page, "keyed").locator(".task-title").focus()
    page.keyboard.press("r")
    expect(page.locator(".toast").last).to_contain_text("keyed is queued again.")
    assert client.task("keyed")["status"] == "pending"
    client.request({"type": "cancel_task", "task_id": "keyed"})
    client.request({"type": "cancel_task", "task_id": "waits-for-it"})


def test_tells_times_with_the_exact_one_on_hover(open_page: OpenPage, client: Client) -> None:
    client.start("timed", description=orders())
    ended = client.until_status("timed", "completed")["completed_at"]
    time = card(open_page(), "timed").locator("time[data-at][data-style=ago]").first
    expect(time).to_have_text(re.compile(r"now|ago"))
    # The page's zone is Berlin's, the server's times are UTC.
    there = datetime.fromisoformat(ended).astimezone(ZoneInfo("Europe/Berlin"))
    assert there.strftime("%H:%M") in (time.get_attribute("title") or "")


def test_opens_with_an_address_that_names_nothing(open_page: OpenPage) -> None:
    page = open_page(path="#task=%E0")
    expect(page.locator(".pill[data-kind=live]").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: OpenPage, client: Client, scheme: Any) -> None:
    client.start(f"running-{scheme}", description=orders(say=["at work"], todos=[1, 3], hold=60))
    client.start(f"queued-{scheme}", description=orders(), dependencies=[f"running-{scheme}"])
    client.start(f"failed-{scheme}", description=orders(fail="Incorrect API key provided"))
    client.until_status(f"failed-{scheme}", "failed")
    client.until_status(f"running-{scheme}", "running")
    page = open_page(color_scheme=scheme, bypass_csp=True)
    expect(card(page, f"running-{scheme}").locator(".task-said")).to_be_visible()
    expect(page.locator(".chart canvas").first).to_be_visible()
    assert serious_findings(page, "body") == []
    drawer = open_task(page, f"running-{scheme}")
    expect(drawer.locator(".log-row").first).to_be_visible()
    for tab in ("Log", "Runs", "Details"):
        drawer.get_by_role("tab", name=tab).click()
        assert serious_findings(page, "dialog") == [], tab
    page.keyboard.press("Escape")
    for key in ("n", "?"):
        # A dialog that was closed is gone a moment later.
        expect(page.locator("dialog")).to_have_count(0)
        page.keyboard.press(key)
        expect(page.locator("dialog")).to_be_visible()
        if key == "n":
            page.get_by_text("More: agent").click()
        assert serious_findings(page, "dialog") == [], key
        page.keyboard.press("Escape")
    client.request({"type": "cancel_task", "task_id": f"queued-{scheme}"})
    client.request({"type": "cancel_task", "task_id": f"running-{scheme}"})


def test_tells_a_screen_reader_what_became_of_a_task(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    client.start("heard", description=orders(fail="no"))
    expect(page.locator("#announcer")).to_contain_text("has failed")


def test_lets_the_theme_be_chosen_and_remembers_it(open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.keyboard.press("t")
    page.keyboard.press("t")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark


@pytest.mark.parametrize("width", [320, 390, 1280, 1920])
def test_never_scrolls_sideways(open_page: OpenPage, client: Client, width: int) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrikantenverband" * 4
    client.start(f"wide-{width}", description=long, dependencies=[], type="a" * 64)
    client.start(f"busy-{width}", description=orders(say=[long], hold=60))
    page = open_page(viewport={"width": width, "height": 800})
    expect(card(page, f"wide-{width}")).to_be_visible()
    expect(card(page, f"busy-{width}").locator(".task-usage")).to_contain_text("CPU")
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    drawer = open_task(page, f"wide-{width}")
    drawer.get_by_role("tab", name="Details").click()
    assert page.evaluate(overflow) <= 0
    assert drawer.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    client.request({"type": "cancel_task", "task_id": f"busy-{width}"})
