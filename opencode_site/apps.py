import gc

from django.apps import AppConfig


class OpencodeSiteConfig(AppConfig):
    name = "opencode_site"

    def ready(self) -> None:
        """Everything is loaded: from here on garbage is collected, and what is there now is passed over."""
        gc.freeze()
        gc.enable()
