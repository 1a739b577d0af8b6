"""The documentation of the settings, made from what the settings themselves say.

`python -m opencode_site.configuration` (`make docs`) writes docs/configuration.md and .env.example anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from textwrap import wrap

from django.conf import settings

from opencode_site.environment import Described

SECTIONS = {
    "Where things lie": ("OPENCODE_DATA_DIR", "DATABASE_URL", "REDIS_URL", "SECRET_KEY"),
    "Where it listens": (
        *("OPENCODE_HOST", "OPENCODE_PORT", "OPENCODE_WEB_SERVER"),
        *("OPENCODE_ALLOWED_HOSTS", "OPENCODE_ALLOWED_ORIGINS"),
        *("OPENCODE_TLS_CERT", "OPENCODE_TLS_KEY", "OPENCODE_HTTPS", "OPENCODE_TRUSTED_PROXIES"),
    ),
    "Who may come in": (
        *("OPENCODE_AUTH", "OPENCODE_ALLOWED_NETWORKS", "OPENCODE_FAILED_LOGINS_PER_MINUTE"),
        *("OPENCODE_ADMIN_USER", "OPENCODE_ADMIN_PASSWORD"),
    ),
    "Agents": (
        *("OPENCODE_BIN", "OPENCODE_MODEL", "OPENCODE_PROJECT_DIR", "OPENCODE_ALLOWED_ROOTS"),
        *("OPENCODE_MAX_CONCURRENT_AGENTS", "OPENCODE_KILL_GRACE", "OPENCODE_AGENT_ENV", "OPENCODE_HOSTNAME"),
    ),
    "Limits": (
        *("OPENCODE_MAX_CONNECTIONS", "OPENCODE_MESSAGES_PER_MINUTE"),
        *("OPENCODE_TASKS_PER_MINUTE", "OPENCODE_KILLS_PER_MINUTE"),
    ),
    "Watching": ("OPENCODE_SAMPLE_INTERVAL", "OPENCODE_LOG_LEVEL", "OPENCODE_LOG_FORMAT", "DEBUG"),
}
PLAIN = {
    "OPENCODE_DATA_DIR": "./var",
    "OPENCODE_PROJECT_DIR": "./var/project",
    "OPENCODE_ALLOWED_ROOTS": "./var/project",
    "OPENCODE_HOSTNAME": "",
    "DATABASE_URL": "sqlite:///var/db.sqlite3",
}
"""Defaults that name this machine, as everybody may read them."""
UNSET = {
    "OPENCODE_HOSTNAME": "the machine's name",
    "OPENCODE_BIN": "found on the PATH",
    "OPENCODE_MODEL": "the agent's own",
    "REDIS_URL": "started by `serve`",
    "SECRET_KEY": "made once",
    "OPENCODE_ADMIN_PASSWORD": "made and shown once",
}
"""What an empty default comes to."""
AT_FIRST_SERVE = {
    "OPENCODE_ADMIN_USER": Described(
        about="Name of the first administrator, made by the first `serve`.", default="admin", expected="text"
    ),
    "OPENCODE_ADMIN_PASSWORD": Described(
        about="Its password; by default a random one is made and shown once.", default="", expected="text"
    ),
}
"""Read by `serve` alone, and only there."""
WIDTH = 118
INTRODUCTION = """# Settings

<!-- Written by `make docs` from the settings themselves. -->

All are read from the environment, or from a file `.env` in the project's directory, over which the
environment has precedence; [.env.example](../.env.example) is one to begin with. A value that cannot be
taken is refused at the start, with what was expected. How long things are kept, and what must be free on
the disk, is changed while the server runs, on the admin's page "Upkeep".
"""


def sections(described: Mapping[str, Described]) -> Iterator[tuple[str, dict[str, Described]]]:
    """Every variable under its heading. Raises `ValueError` for one that has no place, or is not read."""
    known = {**described, **AT_FIRST_SERVE}
    placed = {name for names in SECTIONS.values() for name in names}
    if placed != known.keys():
        raise ValueError(f"SECTIONS and the settings differ in {sorted(placed ^ known.keys())}")
    for title, names in SECTIONS.items():
        yield title, {name: known[name] for name in names}


def markdown(described: Mapping[str, Described]) -> str:
    """docs/configuration.md."""
    lines = INTRODUCTION.splitlines()
    for title, variables in sections(described):
        lines += ["", f"## {title}", "", "| variable | default | may be | |", "|---|---|---|---|"]
        for name, one in variables.items():
            default = PLAIN.get(name, one.default)
            shown = f"`{default}`" if default else UNSET.get(name, "empty")
            lines.append(f"| `{name}` | {shown} | {one.expected} | {one.about} |")
    return "\n".join(lines) + "\n"


def example(described: Mapping[str, Described]) -> str:
    """.env.example."""
    lines = [
        "# Every setting, commented out with its default. Copy this file to .env and change what you need;",
        "# a variable of the process's environment has precedence over it. Written by `make docs`.",
    ]
    for title, variables in sections(described):
        lines += ["", f"# --- {title} ---"]
        for name, one in variables.items():
            text = one.about if one.expected == "text" else f"{one.about} May be {one.expected}."
            about = [f"# {line}" for line in wrap(text, WIDTH - 2)]
            lines += ["", *about, f"# {name}={PLAIN.get(name, one.default)}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opencode_site.settings")
    described = settings.ENVIRONMENT.described
    (settings.BASE_DIR / "docs" / "configuration.md").write_text(markdown(described))
    (settings.BASE_DIR / ".env.example").write_text(example(described))


if __name__ == "__main__":
    main()
