"""API keys and logins: made, checked, revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from importlib import import_module
from typing import Final

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractUser
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from opencode_site.access.models import ApiKey
from opencode_site.access.scopes import Principal, Scope

KEY: Final = re.compile(r"oca_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
"""A key: our mark, by which scanners find it; the prefix for the look-up; 256 random bits."""
USE_WRITTEN_EVERY: Final = timedelta(minutes=1)
_NOBODYS_DIGEST: Final = hashlib.sha256(secrets.token_bytes()).hexdigest()


class Refused(Exception):
    """Somebody is not who they say; the message is for the server's log and says why."""


class NotLoggedIn(Refused):
    """Somebody shows nothing, or a login that has ended: nobody guesses here."""


class UnknownKey(Exception):
    """No key has this prefix."""


# --- Keys -------------------------------------------------------------------------------------------------


def create_key(*, name: str, scope: Scope, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """Makes a key; returns its row and the key itself, which nothing can show again.

    A plain SHA-256 is enough: nobody guesses 256 random bits, however fast the hash is.
    """
    prefix = secrets.token_hex(6)
    secret = f"oca_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        name=name, scope=scope, prefix=prefix, digest=_digest(secret), expires_at=expires_at
    )
    return key, secret


def revoke_key(prefix: str) -> ApiKey:
    """Ends a key for ever; open connections notice within seconds. Raises `UnknownKey`."""
    ApiKey.objects.filter(prefix=prefix, revoked_at=None).update(revoked_at=timezone.now())
    key = ApiKey.objects.filter(prefix=prefix).first()
    if key is None:
        raise UnknownKey(f"there is no API key with the prefix {prefix!r}")
    return key


def holder_of(secret: str) -> Principal:
    """Whose key this is. Raises `Refused`."""
    match = KEY.fullmatch(secret)
    key = ApiKey.objects.filter(prefix=match[1]).first() if match else None
    # Compared in any case, so that time tells nobody which prefixes exist.
    same = hmac.compare_digest(key.digest if key else _NOBODYS_DIGEST, _digest(secret))
    if key is None or not same:
        raise Refused("the API key is unknown")
    if key.state != "active":
        raise Refused(f"the API key {key} is {key.state}")
    _note_use([key.pk])
    return _principal(key)


def _principal(key: ApiKey) -> Principal:
    return Principal(name=f"API key {key}", scope=Scope(key.scope), key_id=key.pk)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _note_use(keys: Collection[int]) -> None:
    now = timezone.now()
    ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lt=now - USE_WRITTEN_EVERY), pk__in=keys
    ).update(last_used_at=now)


# --- Logins -----------------------------------------------------------------------------------------------


def user_of(session_key: str) -> Principal:
    """Whose login a session cookie stands for. Raises `NotLoggedIn`."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = get_user(request)
    if not isinstance(user, AbstractUser):
        raise NotLoggedIn("the session is unknown or has ended")
    return Principal(name=f"user {user.get_username()}", scope=scope_of(user), session=session_key)


def scope_of(user: AbstractUser) -> Scope:
    """Superusers may do everything, the staff may operate, every other user may look."""
    if user.is_superuser:
        return Scope.ADMIN
    return Scope.OPERATE if user.is_staff else Scope.READ


# --- Connections that stay --------------------------------------------------------------------------------


def still_valid(principals: Collection[Principal]) -> set[Principal]:
    """Those of them whose key or login still holds, with the same scope as before."""
    keys = {each.key_id for each in principals if each.key_id is not None}
    now = timezone.now()
    rows = ApiKey.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), pk__in=keys, revoked_at=None)
    found = {_principal(key) for key in rows}
    _note_use([each.key_id for each in found if each.key_id is not None])
    for each in principals:
        if each.session and (user := _user_or_none(each.session)):
            found.add(user)
    return found.intersection(principals)


def _user_or_none(session_key: str) -> Principal | None:
    try:
        return user_of(session_key)
    except Refused:
        return None
