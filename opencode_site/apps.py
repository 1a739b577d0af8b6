import gc
import logging

from django.apps import AppConfig


class OpencodeSiteConfig(AppConfig):
    name = "opencode_site"

    def ready(self) -> None:
        """Everything is loaded: from here on garbage is collected, but for what is there now."""
        # What Python and libraries warn of belongs into the log, in its form.
        logging.captureWarnings(True)
        gc.freeze()
        gc.enable()
