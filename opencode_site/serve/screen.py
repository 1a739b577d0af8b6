"""What `serve` says to the person in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from opencode_site.serve.database import NewAccount

NO_AGENT = "none found: npm install -g opencode-ai, or set OPENCODE_BIN to its executable"


def http_url(host: str, port: int, *, tls: bool = False) -> str:
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http{'s' if tls else ''}://{name}:{port}/"


def ready(
    *,
    version: str,
    seconds: float,
    url: str,
    data_dir: Path,
    agents: Mapping[str, str | None],
    stop_agents: bool,
) -> str:
    """The one screen that is shown when everything works."""
    found = {name: path for name, path in agents.items() if path}
    rows = [
        ("Dashboard", url),
        ("Admin", f"{url}admin/"),
        ("WebSocket", f"ws{url.removeprefix('http')}ws"),
        ("Data", f"{data_dir}  (logs: {data_dir / 'logs'})"),
        ("Agents", ", ".join(f"{name} ({path})" for name, path in found.items()) or NO_AGENT),
        ("Stop", "Ctrl-C; agents that run are " + ("stopped, too" if stop_agents else "left running")),
    ]
    lines = "\n".join(f"  {label:<11}{text}" for label, text in rows)
    return f"\nOpenCode Agent Automation {version} is ready ({seconds:.1f} s)\n\n{lines}\n"


def account(made: NewAccount) -> str:
    """The first administrator's name and password; nothing else ever shows it."""
    if made.password is None:
        return f"  The admin account {made.name!r} was made with the password in OPENCODE_ADMIN_PASSWORD.\n"
    return (
        f"  The admin account was made: {made.name}  password: {made.password}\n"
        f"  It is shown only now; to change it: python manage.py changepassword {made.name}\n"
    )


def left_running(count: int) -> str:
    """What becomes of the agents when the server has stopped."""
    if count == 0:
        return "Stopped. No agent is running."
    what = "1 agent goes" if count == 1 else f"{count} agents go"
    return (
        f"Stopped. {what} on running; the next `manage.py serve` picks up what they do meanwhile.\n"
        "To stop them: start again with --stop-agents, and press Ctrl-C."
    )


def agents_stopped(*, asked: int, left: int) -> str:
    if left:
        return (
            f"Stopped. {left} of {asked} agents did not end; the next `manage.py serve` goes on ending them."
        )
    return f"Stopped, and {asked} agent{'' if asked == 1 else 's'} with it." if asked else left_running(0)
