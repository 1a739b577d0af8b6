"""`.env.example` says what can be set."""

from __future__ import annotations

import re

from django.conf import settings

from opencode_site import __version__

ELSEWHERE = {"OPENCODE_ADMIN_USER", "OPENCODE_ADMIN_PASSWORD"}
"""Read by `serve` alone, and only there."""


def test_describes_every_variable_that_the_settings_read_and_no_other() -> None:
    text = (settings.BASE_DIR / ".env.example").read_text()
    named = re.findall(r"^# ?([A-Z_]+)=", text, re.MULTILINE)
    assert sorted(named) == sorted(set(settings.ENVIRONMENT.described) | ELSEWHERE)


def test_has_the_version_that_the_project_file_says() -> None:
    project = (settings.BASE_DIR / "pyproject.toml").read_text()
    assert f'version = "{__version__}"' in project
