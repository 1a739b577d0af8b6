"""A person walks through the admin of a really running server, in the system's Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.conftest import browser, orders, server
from tests.support.axe import serious_findings
from tests.support.migrated import ADMIN_PASSWORD
from tests.support.server import Server

__all__ = ["browser", "server"]
pytestmark = pytest.mark.browser
TASKS = "/admin/tasks/task/"
PAGES = (
    *("/admin/", TASKS, f"{TASKS}add/", f"{TASKS}walked/change/", f"{TASKS}walked/retry/"),
    *("/admin/tasks/schedule/add/", "/admin/monitoring/upkeep/"),
    *("/admin/tasks/run/", "/admin/monitoring/logentry/", "/admin/processes/seenagent/"),
)


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """Logged in; no request may leave the machine, and no script may fail."""
    base = f"http://127.0.0.1:{server.port}"
    wrong: list[str] = []
    context = browser.new_context(base_url=base)
    opened = context.new_page()
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda one: None if one.url.startswith((base, "data:")) else wrong.append(one.url))
    opened.goto("/admin/")
    opened.get_by_label("Username").fill("admin")
    opened.get_by_label("Password").fill(ADMIN_PASSWORD)
    opened.keyboard.press("Enter")
    expect(opened.locator("#oc-load")).to_be_visible()
    yield opened
    context.close()
    assert wrong == []


def create(page: Page, task_id: str, description: str, needs: str = "") -> None:
    page.goto(f"{TASKS}add/")
    page.fill("#id_id", task_id)
    page.fill("#id_type", "testing")
    page.fill("#id_description", description)
    if needs:
        page.locator(".select2-selection").first.click()
        page.keyboard.type(needs)
        page.locator(".select2-results__option", has_text=needs).click()
    page.locator("[name=_save]").click()
    expect(page.locator("#result_list")).to_contain_text(task_id)


def test_a_person_queues_watches_cancels_retries_and_deletes(page: Page) -> None:
    create(page, "walked", orders(say=["hello from the agent"], todos=[1, 4], hold=60))
    create(page, "dependent", orders(), needs="walked")
    expect(page.locator("#result_list")).to_contain_text("It waits for 'walked'.")
    page.goto(f"{TASKS}walked/change/")
    expect(page.locator("#run-log li", has_text="hello from the agent")).to_be_visible()
    expect(page.locator(".oc-state")).to_have_text("running · live")
    page.locator("section[aria-label=State]").get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Cancel the task").click()
    # The page follows the run's end by itself.
    state = page.locator("section[aria-label=State]")
    expect(state.get_by_text("cancelled", exact=True)).to_be_visible()
    page.goto(f"{TASKS}dependent/change/")
    expect(page.locator("section[aria-label=State]")).to_contain_text("retry that one to unblock this")
    page.goto(f"{TASKS}dependent/delete/")
    page.get_by_role("button", name="Yes, I").click()
    expect(page.locator("#result_list")).not_to_contain_text("dependent")
    look_at_every_page(page)
    page.goto(f"{TASKS}walked/retry/")
    page.get_by_role("button", name="Retry the task").click()
    expect(page.locator("#run-log li", has_text="hello from the agent")).to_be_visible()


def test_a_person_ends_a_process_after_being_asked(page: Page) -> None:
    create(page, "to-be-ended", orders(say=["hello"], hold=120))
    row = page.locator("#result_list tr", has_text="to-be-ended")
    for _ in range(60):
        page.goto("/admin/processes/seenagent/?q=to-be-ended")
        if row.get_by_role("link", name="End process").count():
            break
        page.wait_for_timeout(250)
    row.get_by_role("link", name="End process").click()
    expect(page.locator(".oc-facts")).to_contain_text("to-be-ended")
    page.get_by_role("link", name="No, go back").click()
    row.get_by_role("link", name="End process").first.click()
    page.keyboard.press("Tab")
    page.get_by_role("button", name="End the process").press("Enter")
    expect(page.locator("body")).to_contain_text("has ended.")
    page.goto(f"{TASKS}to-be-ended/change/")
    expect(page.locator("section[aria-label=State]")).to_contain_text("failed")
    page.goto("/admin/processes/kill/")
    expect(page.locator("#result_list tr", has_text="to-be-ended")).to_contain_text("admin: admin")


def test_a_person_makes_a_schedule_and_takes_a_turn(page: Page) -> None:
    page.goto("/admin/django_celery_beat/crontabschedule/add/")
    page.fill("#id_minute", "30")
    page.fill("#id_hour", "2")
    page.locator("[name=_save]").click()
    page.goto("/admin/tasks/schedule/add/")
    page.fill("#id_name", "nightly")
    page.fill("#id_type", "testing")
    page.fill("#id_description", orders(say=["good night"]))
    page.locator("[name=_save]").click()
    expect(page.locator("body")).to_contain_text("Choose a crontab or an interval")
    page.select_option("#id_crontab", index=1)
    page.locator("[name=_save]").click()
    row = page.locator("#result_list tr", has_text="nightly")
    expect(row).to_contain_text("02:30:00")
    row.locator("input[name=_selected_action]").check()
    page.locator("select[name=action]").select_option("take_turn_now")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("body")).to_contain_text("nightly: submitted")
    page.goto("/admin/tasks/schedule/")
    page.get_by_role("link", name="nightly").first.click()
    expect(page.locator("body")).to_contain_text("submitted")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for url in ("/admin/tasks/schedule/", page.url, "/admin/monitoring/upkeep/"):
            page.goto(url)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (url, width)


def look_at_every_page(page: Page) -> None:
    """Nothing is wider than the window."""
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for url in PAGES:
            page.goto(url)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (url, width)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, theme: Any) -> None:
    page.emulate_media(color_scheme=theme)
    create(page, f"axe-{theme}", orders(say=["hello"]))
    for url in (*PAGES, f"{TASKS}axe-{theme}/change/"):
        if "walked" not in url:
            page.goto(url)
            # Our own parts of the page.
            assert serious_findings(page, "#content-main, .oc-card, .oc-warning") == [], url
