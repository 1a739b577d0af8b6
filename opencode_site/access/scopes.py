"""What somebody may do, each scope including those before it, and who somebody is."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models


class Scope(models.TextChoices):
    """READ looks, OPERATE also gives and ends tasks, ADMIN also ends processes that are no task's."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    def includes(self, needed: Scope) -> bool:
        """Whether this scope may do what needs the other one."""
        return needed in _INCLUDED[self]


_INCLUDED = {scope: frozenset(list(Scope)[: rank + 1]) for rank, scope in enumerate(Scope)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever a request comes from: the holder of an API key, a user's session, or anybody on loopback."""

    name: str
    scope: Scope
    key_id: int | None = None
    session: str = ""


ANYBODY = Principal(name="websocket", scope=Scope.ADMIN)
"""Everybody, as long as OPENCODE_AUTH is off."""
