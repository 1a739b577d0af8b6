"""Typed readers for the environment that fail with the name, the value and what was expected."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a variable is for, what it is when nobody sets it, and what it may be."""

    about: str
    default: str
    expected: str


class Environment:
    """Reads settings from the process environment and remembers what each one is for.

    `described` has what is said about each variable, so that the documentation can be generated from what is
    really read. Every reader raises `django.core.exceptions.ImproperlyConfigured` for a value that it cannot
    take.
    """

    def __init__(self, env_file: Path) -> None:
        self._env = environ.Env()
        self.described: dict[str, Described] = {}
        if env_file.is_file():
            self._env.read_env(env_file)

    def _raw(self, name: str, default: str, about: str, expected: str = "text") -> str:
        self.described[name] = Described(about=about, default=default, expected=expected)
        return str(self._env.str(name, default=default)).strip()

    def text(self, name: str, *, default: str = "", about: str) -> str:
        return self._raw(name, default, about)

    def switch(self, name: str, *, default: bool, about: str) -> bool:
        raw = self._raw(name, "true" if default else "false", about, "true or false").lower()
        if raw in {"1", "true", "yes", "on"}:
            return True
        if raw in {"0", "false", "no", "off", ""}:
            return False
        raise ImproperlyConfigured(f"{name} is {raw!r}: expected true or false")

    def integer(self, name: str, *, default: int, low: int, high: int, about: str) -> int:
        expected = f"a whole number from {low} to {high}"
        raw = self._raw(name, str(default), about, expected)
        try:
            value = int(raw)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ImproperlyConfigured(f"{name} is {raw!r}: expected {expected}")
        return value

    def seconds(self, name: str, *, default: float, low: float, high: float, about: str) -> float:
        expected = f"seconds from {low:g} to {high:g}"
        raw = self._raw(name, f"{default:g}", about, expected)
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ImproperlyConfigured(f"{name} is {raw!r}: expected {expected}")
        return value

    def choice(self, name: str, *, default: str, among: tuple[str, ...], about: str) -> str:
        expected = f"one of {', '.join(among)}"
        raw = self._raw(name, default, about, expected)
        if raw not in among:
            raise ImproperlyConfigured(f"{name} is {raw!r}: expected {expected}")
        return raw

    def names(
        self, name: str, *, default: str = "", about: str, expected: str = "texts with commas between"
    ) -> list[str]:
        raw = self._raw(name, default, about, expected)
        return [part.strip() for part in raw.split(",") if part.strip()]

    def networks(self, name: str, *, about: str) -> list[IPv4Network | IPv6Network]:
        networks = []
        for part in self.names(name, about=about, expected="networks with commas between"):
            try:
                networks.append(ip_network(part))
            except ValueError as error:
                raise ImproperlyConfigured(
                    f"{name} has {part!r}: expected addresses or networks like 10.0.0.0/8 ({error})"
                ) from error
        return networks

    def path(self, name: str, *, default: Path, about: str) -> Path:
        return Path(self._raw(name, str(default), about, "a path")).expanduser().absolute()

    def database(self, name: str, *, default: str, about: str) -> dict[str, Any]:
        raw = self._raw(name, default, about, "a URL")
        config: dict[str, Any] = dict(self._env.db_url_config(raw)) if "://" in raw else {}
        if not config.get("ENGINE"):
            raise ImproperlyConfigured(f"{name} is not a database URL: expected postgres://… or sqlite:///…")
        return config
