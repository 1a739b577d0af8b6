"""What is written about the settings is what the settings say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import environ
import pytest
from django.conf import settings

from opencode_site import __version__
from opencode_site.configuration import AT_FIRST_SERVE, example, markdown, sections
from opencode_site.environment import Described, Environment

Write = Callable[[Mapping[str, Described]], str]
DESCRIBED: dict[str, Described] = settings.ENVIRONMENT.described


@pytest.mark.parametrize(("name", "write"), [("docs/configuration.md", markdown), (".env.example", example)])
def test_is_up_to_date(name: str, write: Write) -> None:
    there = Path(settings.BASE_DIR, name).read_text()
    assert there == write(DESCRIBED), f"run `make docs`: {name} is older than the settings"


def test_names_every_variable_that_is_read_and_no_other() -> None:
    names = sorted({*DESCRIBED, *AT_FIRST_SERVE})
    assert sorted(re.findall(r"^\| `([A-Z_]+)`", markdown(DESCRIBED), re.MULTILINE)) == names
    assert sorted(re.findall(r"^# ([A-Z_]+)=", example(DESCRIBED), re.MULTILINE)) == names


def test_names_nothing_of_this_machine() -> None:
    for text in (markdown(DESCRIBED), example(DESCRIBED)):
        assert str(settings.BASE_DIR) not in text
        assert "tests-" not in text


def test_a_new_setting_must_have_its_place() -> None:
    new = {**DESCRIBED, "OPENCODE_NEW": Described(about="x", default="", expected="text")}
    with pytest.raises(ValueError, match="OPENCODE_NEW"):
        list(sections(new))


def test_the_example_can_be_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every line taken in, each reader takes its own default."""
    # It would go into this process's environment, and from there to whatever other tests start.
    monkeypatch.setattr(environ.Env, "ENVIRON", {})
    lines = example(DESCRIBED).splitlines()
    taken = [line.removeprefix("# ") for line in lines if re.match(r"^# [A-Z_]+=", line)]
    file = tmp_path / ".env"
    file.write_text("\n".join(taken) + "\n")
    read = Environment(file)
    assert read.integer("OPENCODE_PORT", default=1, low=1, high=65535, about="") == 8080
    assert read.choice("OPENCODE_LOG_FORMAT", default="", among=("line", "json"), about="") == "line"


def test_has_the_version_that_the_project_file_says() -> None:
    project = (settings.BASE_DIR / "pyproject.toml").read_text()
    assert f'version = "{__version__}"' in project
