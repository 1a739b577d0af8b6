"""The composition root: it imports every app and is imported by none."""

from opencode_site.celery import app as celery_app

__version__ = "0.1.0"

# Importing the package configures Celery: whoever wakes a host up, web, admin or command, uses this app.
__all__ = ["__version__", "celery_app"]
