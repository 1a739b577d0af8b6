"""The logins of dashboard and admin; who fails too often has to wait."""

from __future__ import annotations

import math
from typing import Any

from django.contrib.auth import forms
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm as UnfoldAuthenticationForm

from opencode_site.access import attempts


class Limited(forms.AuthenticationForm):
    """Checks no password of an address that has failed too often, since guessing is a matter of numbers."""

    def clean(self) -> dict[str, Any]:
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        if wait := attempts.seconds_to_wait(address, attempts.Kind.PASSWORD):
            raise ValidationError(
                f"Too many failed attempts. Please try again in {math.ceil(wait)} seconds.", code="too_many"
            )
        try:
            return super().clean()
        except ValidationError:
            attempts.count_failure(address, attempts.Kind.PASSWORD, "a login failed")
            raise


class LoginForm(Limited):
    """The dashboard's."""


class AdminLoginForm(Limited, UnfoldAuthenticationForm):  # type: ignore[misc] # Unfold has no types
    """The admin's, which lets only the staff in."""
