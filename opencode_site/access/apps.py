from django.apps import AppConfig
from django.core.checks import Tags, register


class AccessConfig(AppConfig):
    name = "opencode_site.access"
    label = "access"
    verbose_name = "Access"

    def ready(self) -> None:
        from opencode_site.access.checks import check_settings  # noqa: PLC0415 - needs the apps to be loaded

        register(check_settings, Tags.security)
