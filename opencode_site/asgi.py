"""The ASGI application: pages over HTTP, the protocol over a WebSocket at `/ws`."""

from __future__ import annotations

import os
from typing import Any, cast

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opencode_site.settings")
pages = get_asgi_application()

# Django has to be set up before anything that imports a model.
from opencode_site.access.doors import authenticated, from_allowed_network  # noqa: E402
from opencode_site.probes import Probes  # noqa: E402
from opencode_site.ws.endpoint import Endpoint  # noqa: E402
from opencode_site.ws.origins import Application, from_known_origin, refuse, to_known_host  # noqa: E402

PATHS = ("/ws", "/ws/")
websockets = Endpoint()
protected_websockets = from_known_origin(authenticated(websockets))


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuses every path but `/ws`."""
    if scope["path"] in PATHS:
        await protected_websockets(scope, receive, send)
    else:
        await refuse(scope, receive, send, status=404)


routes = ProtocolTypeRouter({"http": to_known_host(Probes(cast(Application, pages))), "websocket": websocket})
application = from_allowed_network(cast(Application, routes))
