"""API keys."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from opencode_site.access.scopes import Scope


class ApiKey(models.Model):
    """A key that a program shows as `Authorization: Bearer`. Only its hash is kept."""

    name = models.CharField(max_length=100, help_text="What or whom it is for.")
    prefix = models.CharField(max_length=16, unique=True, help_text="The part of the key that is no secret.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the whole key, in hex.")
    scope = models.CharField(max_length=16, choices=Scope)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To about a minute.")

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"

    @property
    def state(self) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return "expired" if expired else "active"
