"""The live dashboard: one page that speaks nothing but the public WebSocket protocol."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def dashboard(request: HttpRequest) -> HttpResponse:
    """The page itself; it holds no data, so it may be shown to whoever may open the WebSocket."""
    response = render(request, "dashboard.html")
    response["Content-Security-Policy"] = _content_security_policy(request)
    response["Cache-Control"] = "no-cache"
    return response


def _content_security_policy(request: HttpRequest) -> str:
    """Scripts, styles and fonts are files of our own; what an agent prints can never become one.

    The WebSocket's address is named beside `'self'`, which covers it in some browsers only.
    """
    scheme = "wss" if request.is_secure() else "ws"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "font-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self' {scheme}://{request.get_host()}",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
