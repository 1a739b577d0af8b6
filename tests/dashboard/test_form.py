"""The form for a new task, in a browser: what the server says against a value stands at its field."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import OpenPage, orders
from tests.support.client import Client
from tests.support.server import Server

pytestmark = pytest.mark.browser
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsmützenfabrikantenverband"


@pytest.fixture
def form(open_page: OpenPage) -> Page:
    """A page with the form open and all of it shown."""
    page = open_page(viewport={"width": 390, "height": 844})
    page.get_by_role("button", name="New task").click()
    page.get_by_text("More: agent").click()
    return page


def test_starts_a_task_and_shows_the_servers_error_at_its_field(open_page: OpenPage, client: Client) -> None:
    page = open_page()
    page.keyboard.press("n")
    page.get_by_label("What is to be done?").fill(orders(say=["from the form"]))
    page.get_by_label("Id", exact=True).fill("from-form")
    page.get_by_label("Type", exact=True).fill("Not A Slug")
    page.get_by_role("button", name="Start task").click()
    expect(page.locator("#field-type-error")).to_contain_text("lowercase slug")
    expect(page.get_by_label("Type", exact=True)).to_be_focused()
    page.get_by_label("Type", exact=True).fill("testing")
    page.get_by_label("Only after these tasks").fill("no-such-task")
    page.get_by_role("button", name="Start task").click()
    expect(page.locator("#field-dependencies-error")).to_contain_text("'no-such-task' not found")
    page.get_by_label("Remove no-such-task").click()
    page.get_by_text("More: agent").click()
    page.get_by_label("Time limit", exact=True).fill("2")
    page.get_by_role("button", name="Start task").click()
    expect(page.locator("dialog")).to_have_count(0)
    task = client.until_status("from-form", "completed")
    assert (task["type"], task["timeout"]) == ("testing", 120_000)
    page.keyboard.press("n")
    page.get_by_label("Id", exact=True).fill("from-form")
    page.get_by_label("What is to be done?").fill("x")
    page.get_by_role("button", name="Start task").click()
    expect(page.locator("#field-id-error")).to_contain_text("already exists")


WRONG = {
    "description": ("", "description"),
    "id": ("not an id", "letters, digits"),
    "type": ("Not A Slug", "lowercase slug"),
    "agent": ("nobody", "'nobody'"),
    "model": ("m" * 256, "at most 255"),
    "working_dir": ("/", "'/'"),
    "files_pattern": ("../*", "relative"),
    "timeout": ("soon", "whole number"),
    "max_retries": ("many", "whole number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_shows_each_error_at_its_own_field(form: Page, client: Client, name: str) -> None:
    value, said = WRONG[name]
    form.locator("#field-description").fill("To be refused")
    form.locator("#field-id").fill("refused")
    form.locator(f"#field-{name}").fill(value)
    form.get_by_role("button", name="Start task").click()
    expect(form.locator(f"#field-{name}-error")).to_contain_text(said)
    expect(form.locator(f"#field-{name}")).to_be_focused()
    expect(form.locator(f"#field-{name}")).to_have_attribute("aria-invalid", "true")
    expect(form.locator(".field-error:not(:empty)")).to_have_count(1)
    expect(form.locator(".form-error")).to_be_hidden()
    assert "refused" not in {task["id"] for task in client.request({"type": "list_tasks"})["tasks"]}


def test_fits_a_phone_whatever_stands_in_it(form: Page) -> None:
    form.locator("#field-description").fill(LONG * 4)
    form.locator("#field-working_dir").fill("/" + LONG * 4)
    dependencies = form.get_by_label("Only after these tasks")
    for number in range(3):
        dependencies.fill(f"{'x' * 100}-{number}")
        dependencies.press("Enter")
    form.get_by_role("button", name="Start task").click()
    expect(form.locator(".field-error:not(:empty)")).to_have_count(1)
    dialog = form.locator("dialog")
    assert dialog.evaluate("e => e.scrollWidth - e.clientWidth") <= 0
    assert form.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    start = form.get_by_role("button", name="Start task").bounding_box()
    assert start is not None
    assert start["x"] >= 0
    assert start["x"] + start["width"] <= 390
    assert start["y"] + start["height"] <= 844


def test_keeps_what_was_typed_when_the_connection_is_lost(form: Page, server: Server, client: Client) -> None:
    form.locator("#field-description").fill(orders(say=["not lost"]))
    form.locator("#field-id").fill("typed")
    server.kill_child("web")
    expect(form.locator("#connection .pill")).not_to_have_attribute("data-kind", "live")
    form.get_by_role("button", name="Start task").click()
    expect(form.locator(".form-error")).to_contain_text("There is no connection just now.")
    expect(form.locator("#connection .pill")).to_have_attribute("data-kind", "live")
    form.get_by_role("button", name="Start task").click()
    expect(form.locator("dialog")).to_have_count(0)
    expect(form.locator('.group.finished [data-task="typed"]')).to_contain_text("not lost")
