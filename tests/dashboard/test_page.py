"""The page as Django serves it."""

from __future__ import annotations

import re

from django.contrib.staticfiles import finders
from django.test import Client


def policy(host: str) -> dict[str, str]:
    header = Client(HTTP_HOST=host).get("/")["Content-Security-Policy"]
    parts = (part.strip().partition(" ") for part in header.split(";"))
    return {name: sources for name, _, sources in parts}


def test_forbids_everything_that_is_not_a_file_of_its_own() -> None:
    assert policy("localhost:8080") == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self' ws://localhost:8080",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


def test_names_the_host_that_was_asked_for_as_the_only_websocket() -> None:
    assert policy("127.0.0.1:9000")["connect-src"] == "'self' ws://127.0.0.1:9000"


def test_refuses_hosts_that_are_not_allowed() -> None:
    assert Client(HTTP_HOST="evil.example").get("/").status_code == 400


def test_has_no_script_or_style_of_its_own_in_the_page() -> None:
    html = Client(HTTP_HOST="localhost").get("/").content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_names_only_static_files_that_exist() -> None:
    html = Client(HTTP_HOST="localhost").get("/").content.decode()
    names = re.findall(r'(?:src|href)="/static/([^"]+)"', html)
    assert len(names) > 5
    assert [name for name in names if finders.find(name) is None] == []


def test_answers_nothing_but_reads() -> None:
    client = Client(HTTP_HOST="localhost")
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405
