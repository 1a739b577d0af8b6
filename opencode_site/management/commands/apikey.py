"""`manage.py apikey create | list | revoke`: the keys that programs show beyond loopback."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.utils import timezone

from opencode_site.access.models import ApiKey
from opencode_site.access.scopes import Scope
from opencode_site.access.services import UnknownKey, create_key, revoke_key
from opencode_site.cli import command
from opencode_site.cli.exits import ExitCode, Failure
from opencode_site.cli.tables import keys_table


class Command(command.Command):
    help = """
        Creates, lists and revokes the API keys that programs show where OPENCODE_AUTH is true. A key is shown
        once, when it is made; the database holds only its hash.
        """
    usage = "create [options] NAME | list | revoke PREFIX"
    examples = (
        ("apikey create --scope operate --days 90 'build server'", "the key alone on stdout"),
        ("apikey list", "all keys, and when each was used last"),
        ("apikey revoke 1f0c9a7e4b2d", "end it, and close its connections"),
    )
    exits = (ExitCode.NOT_FOUND,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, prog="manage.py apikey")
        create = actions.add_parser("create", help="make a key and show it, once")
        create.add_argument("name", help="what or whom it is for")
        create.add_argument(
            "--scope",
            choices=Scope.values,
            default=Scope.READ.value,
            help="read: look (the default); operate: also start, cancel and retry tasks; "
            "admin: also kill processes",
        )
        create.add_argument("--days", type=int, help="days until it expires; never by default")
        actions.add_parser("list", help="show all keys, without their secrets")
        revoke = actions.add_parser("revoke", help="end a key and its connections")
        revoke.add_argument("prefix", help="as `apikey list` shows it")

    def work(self, options: dict[str, Any]) -> ExitCode:
        {"create": self._create, "list": self._list, "revoke": self._revoke}[options["action"]](options)
        return ExitCode.DONE

    def _create(self, options: dict[str, Any]) -> None:
        name, days = options["name"].strip(), options["days"]
        if not 0 < len(name) <= 100:
            raise Failure("the name must have 1 to 100 characters", ExitCode.BAD_INPUT)
        if days is not None and not 1 <= days <= 36500:
            raise Failure("--days must be a number from 1 to 36500", ExitCode.BAD_INPUT)
        expires_at = timezone.now() + timedelta(days=days) if days is not None else None
        key, secret = create_key(name=name, scope=Scope(options["scope"]), expires_at=expires_at)
        self.stdout.write(secret)
        self.stderr.write(
            f"The key {key} may {key.scope}. It is shown only now. Use: Authorization: Bearer <key>"
        )

    def _list(self, options: dict[str, Any]) -> None:
        self.out.print(keys_table(ApiKey.objects.all()))

    def _revoke(self, options: dict[str, Any]) -> None:
        try:
            key = revoke_key(options["prefix"])
        except UnknownKey as error:
            raise Failure(f"{error}; see `manage.py apikey list`", ExitCode.NOT_FOUND) from error
        self.stdout.write(f"The key {key} is revoked; its connections are closed.")
