"""The composition root: it imports every app and is imported by none."""

import gc

# What is loaded is no garbage; looking for some among it takes a fifth of a start (measured). See `apps.py`.
gc.disable()

from opencode_site.celery import app as celery_app  # noqa: E402

__version__ = "0.1.0"

# Importing the package configures Celery: whoever wakes a host up, web, admin or command, uses this app.
__all__ = ["__version__", "celery_app"]
