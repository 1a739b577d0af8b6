"""The login of the dashboard."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpResponse

from opencode_site.access.forms import LoginForm

POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class Login(LoginView):
    """Lets every active user in, to what their scope allows; the admin has a login for the staff."""

    template_name = "login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def render_to_response(self, context: dict[str, Any], **options: Any) -> HttpResponse:
        response = super().render_to_response(context, **options)
        response["Content-Security-Policy"] = POLICY
        return response
