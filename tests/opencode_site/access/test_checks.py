"""Unsafe settings are told by `manage.py check`; production settings are clean."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Error

from opencode_site.access.checks import unsafe_settings
from tests.support.certificates import make_certificates
from tests.support.server import ROOT


def told(settings: Any, **changed: Any) -> set[str]:
    for name, value in changed.items():
        setattr(settings, name, value)
    messages = unsafe_settings()
    assert all(message.msg and (message.hint or isinstance(message, Error)) for message in messages)
    return {str(message.id) for message in messages}


def test_finds_nothing_unsafe_in_the_defaults(settings: Any) -> None:
    assert told(settings) == set()


@pytest.mark.parametrize(
    ("changed", "ids"),
    [
        ({"HOST": "0.0.0.0"}, {"opencode.E002", "opencode.W001"}),
        ({"HOST": "0.0.0.0", "AUTH": True}, {"opencode.W001"}),
        (
            {"HOST": "::", "AUTH": True, "HTTPS": True, "TRUSTED_PROXIES": [ip_network("10.0.0.1")]},
            set(),
        ),
        ({"HOST": "0.0.0.0", "AUTH": True, "DEBUG": True}, {"opencode.E003", "opencode.W001"}),
        ({"HOST": "no such host"}, {"opencode.E001"}),
        ({"ALLOWED_HOSTS": ["*"]}, {"opencode.W002"}),
        ({"ALLOWED_HOSTS": [".example.org"]}, {"opencode.W002"}),
        ({"ALLOWED_ORIGINS": ["null"]}, {"opencode.W003"}),
        ({"ALLOWED_ORIGINS": ["https://*.example.org"]}, {"opencode.W003"}),
        ({"ALLOWED_ORIGINS": ["https://agents.example.org"]}, set()),
        ({"TRUSTED_PROXIES": [ip_network("0.0.0.0/0")]}, {"opencode.E004"}),
        ({"HTTPS": True}, {"opencode.E005"}),
        ({"TLS_CERT": "/nowhere", "TLS_KEY": "/nowhere"}, {"opencode.E006"}),
        ({"REDIS_URL": "redis://broker.example:6379/0"}, {"opencode.W004"}),
        ({"REDIS_URL": "rediss://:secret@broker.example:6379/0"}, set()),
        ({"REDIS_URL": "redis://127.0.0.1:6379/0"}, set()),
        ({"AGENT_ENVIRONMENT": ["*"]}, {"opencode.W006"}),
        ({"ALLOWED_ROOTS": [Path("/")]}, {"opencode.W007"}),
    ],
)
def test_tells_each_unsafe_setting(settings: Any, changed: dict[str, Any], ids: set[str]) -> None:
    assert told(settings, **changed) == ids


def test_tells_of_files_that_others_may_read(settings: Any, tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    environment = tmp_path / ".env"
    environment.touch(0o600)
    files = {"TLS_CERT": str(made.chain), "TLS_KEY": str(made.key), "ENV_FILE": environment}
    assert told(settings, **files) == set()
    for path in (made.key, environment):
        path.chmod(0o644)
        assert told(settings, **files) == {"opencode.W005"}
        path.chmod(0o600)


def check(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENCODE_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "check", *arguments],
        cwd=ROOT,
        env={**kept, "OPENCODE_DATA_DIR": str(tmp_path / "var"), **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_is_clean_for_deployment_with_production_settings(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    production = {
        "OPENCODE_HOST": "0.0.0.0",
        "OPENCODE_AUTH": "true",
        "OPENCODE_ALLOWED_HOSTS": "agents.example.org",
        "OPENCODE_TLS_CERT": str(made.chain),
        "OPENCODE_TLS_KEY": str(made.key),
    }
    done = check(tmp_path, "--deploy", "--fail-level", "DEBUG", **production)
    assert done.returncode == 0, done.stderr
    assert "no issues (2 silenced)" in done.stdout + done.stderr


def test_fails_a_check_with_unsafe_settings(tmp_path: Path) -> None:
    done = check(tmp_path, "--tag", "security", OPENCODE_HOST="0.0.0.0")
    assert done.returncode == 1
    assert "opencode.E002" in done.stderr
    assert "HINT: Set OPENCODE_AUTH=true" in done.stderr
