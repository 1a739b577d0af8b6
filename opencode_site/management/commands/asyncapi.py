"""`manage.py asyncapi`: the protocol, machine-readable."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from opencode_site.asyncapi import document


class Command(BaseCommand):
    help = "Prints the protocol as an AsyncAPI 3 document, e.g.: manage.py asyncapi > asyncapi.json"

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(document(), indent=2))
