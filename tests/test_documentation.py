"""What the documentation names is there: files, headings, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from tasks.failures import FailureReason, explain
from tests.support.server import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
COMMAND = re.compile(
    r"^(?: {4}|\$ )(?:\S+/)?(?:python )?(?:\S+/)?manage\.py (.+?)(?: {2,}#.*)?$", re.MULTILINE
)


def headings(page: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in (next(filter(None, found)) for found in LINK.findall(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in headings(there)):
            broken.append(target)
    assert broken == []


COMMANDS = [(page.name, line) for page in PAGES for line in COMMAND.findall(page.read_text())]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_is_one(page: str, line: str) -> None:
    """With options and arguments that it takes."""
    name, *arguments = shlex.split(line)
    assert name in get_commands(), page
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    try:
        parser.parse_args(arguments)
    except SystemExit as left:
        pytest.fail(f"{page}: manage.py {line}: {left}")


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) >= 10


def test_troubleshooting_quotes_what_the_server_says() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    paths = [
        *ROOT.glob("tasks/**/*.py"),
        *ROOT.glob("opencode_site/**/*.py"),
        *ROOT.glob("opencode_site/**/*.js"),
    ]
    source = "\n".join(path.read_text() for path in paths)
    # Literals over several lines are one text.
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    quotes = re.findall(r"^> (.+)$", page, re.MULTILINE)
    assert len(quotes) >= 10
    said = [part.strip(" '") for quote in quotes for part in quote.split("…") if part.strip(" '.:;")]
    assert [part for part in said if part not in source] == []


def test_troubleshooting_has_every_reason_with_its_advice() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
    assert {reason.value: explain(reason) for reason in FailureReason}.items() <= rows.items()
