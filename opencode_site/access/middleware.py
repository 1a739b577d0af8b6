"""What holds for every HTTP page: who may see it, and what a browser may do with it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from opencode_site.access import attempts
from opencode_site.access.doors import bearer_token
from opencode_site.access.services import Refused, holder_of

STRICT = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
ADMIN = "; ".join(
    (
        "default-src 'self'",
        # The admin's own scripts are Alpine expressions in attributes and styles that it computes.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class SecurityHeaders(MiddlewareMixin):
    """A page that names no policy of its own may load and run nothing; the admin needs more."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        policy = ADMIN if request.path.startswith("/admin/") else STRICT
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return response


class RequireAuthentication(LoginRequiredMiddleware):
    """With OPENCODE_AUTH on, a page is shown to whoever has logged in or shows an API key of any scope.

    Browsers are led to the login, programs get HTTP 401; 429 when they have failed too often. The logins
    themselves and static files are for everybody.
    """

    def process_view(
        self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if not settings.AUTH:
            return None
        if (header := request.headers.get("Authorization")) is None:
            to_login = super().process_view(request, view_func, view_args, view_kwargs)
            browser = "text/html" in request.headers.get("Accept", "")
            return to_login if to_login is None or browser else _refuse(0)
        try:
            holder_of(bearer_token([header]))
        except Refused as refusal:
            address = request.META.get("REMOTE_ADDR", "")
            return _refuse(attempts.count_failure(address, attempts.Kind.KEY, str(refusal)))
        return None


def _refuse(wait: float) -> HttpResponse:
    if wait:
        told = "Too many failed attempts. Please wait before retrying.\n"
        return HttpResponse(
            told, status=429, content_type="text/plain", headers={"Retry-After": str(round(wait))}
        )
    return HttpResponse(
        "An API key (Authorization: Bearer) or a login is needed\n",
        status=401,
        content_type="text/plain",
        headers={"WWW-Authenticate": 'Bearer realm="opencode"'},
    )
