"""What a WebSocket client may do and for how long, whatever server carries its frames, and what is said."""

from __future__ import annotations

from opencode_site.ws.errors import Code, ProtocolError
from opencode_site.ws.flow import STALLED_AFTER

MAX_MESSAGE_BYTES = 1024 * 1024
"""A larger frame or message closes the connection with 1009."""
HANDSHAKE_PATIENCE = 5
"""Seconds for the application to accept or refuse a client."""
CLOSE_PATIENCE = 2.0
"""Seconds for a client to answer a close, and so to read what it was told before it."""
STOP_PATIENCE, CLOSING_PATIENCE = 2.5, 1.0
"""Seconds for replies in flight, and then for the closing handshakes, when the server stops."""
GOING_AWAY, INVALID_TEXT, POLICY_VIOLATION, INTERNAL_ERROR, TRY_AGAIN_LATER = 1001, 1007, 1008, 1011, 1013
LONGEST_REASON = 123
"""Bytes of a close's reason (RFC 6455, section 5.5)."""
CHALLENGE = [("WWW-Authenticate", 'Bearer realm="opencode"')]
"""HTTP wants a 401 to name the way to authenticate."""


def shortened(reason: str) -> str:
    """As much of a close's reason as may be sent."""
    return reason.encode()[:LONGEST_REASON].decode(errors="ignore")


def nothing_read() -> ProtocolError:
    """Why a client is cut that does not read."""
    return ProtocolError(
        Code.SERVER_OVERLOAD,
        f"Nothing was read for {STALLED_AFTER:g} seconds though there was something to read",
        seconds=STALLED_AFTER,
    )


def ping_unanswered(seconds: float) -> ProtocolError:
    """Why a client is cut that does not answer."""
    return ProtocolError(
        Code.HEARTBEAT_TIMEOUT,
        f"A WebSocket ping was not answered within {seconds:g} seconds",
        timeout_seconds=seconds,
    )
