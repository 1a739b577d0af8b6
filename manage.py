#!/usr/bin/env python
"""Django's commands and ours: `serve` runs everything; `help` lists the rest."""

from __future__ import annotations

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

EXIT_CONFIGURATION = 2
EXIT_INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Runs one command. A wrong setting is one line on stderr and exit code 2, not a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opencode_site.settings")
    try:
        execute_from_command_line(arguments)
    except ImproperlyConfigured as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
