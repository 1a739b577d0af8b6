"""What every message shares; connection, ping and the error."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.utils import timezone
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from monitoring.events import Message, Timestamp
from opencode_site.ws.errors import Code, ProtocolError

REQUEST_ID_LENGTH = 128
RequestId = Annotated[
    str,
    Field(
        max_length=REQUEST_ID_LENGTH,
        description="Any text of the client's; the reply or error carries it back.",
    ),
]


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is the whole number 5, as JSON Schema has it too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[Any, AfterValidator(_number), WithJsonSchema({"type": "number"})]
"""Kept exactly as it is: whole stays whole."""


class Input(BaseModel):
    """What a client sends. Unknown fields are ignored, types are strict, null is the same as absent."""

    model_config = ConfigDict(extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_null(cls, data: Any) -> Any:
        if isinstance(data, dict) and None in data.values():
            return {name: value for name, value in data.items() if value is not None}
        return data


class Request(Input):
    """A message from a client."""

    type: str
    request_id: RequestId | None = None


class Reply(Message):
    """An answer to a request."""

    request_id: RequestId | None = None


class ConnectionEstablished(Message):
    """Sent once, when the connection is open."""

    type: Literal["connection_established"] = "connection_established"
    server_version: str = Field(examples=["1.0.0"])
    timestamp: Timestamp


class Ping(Request):
    """Asks whether the server answers."""

    type: Literal["ping"]
    timestamp: Number = Field(
        default=None, description="Echoed as it is; epoch milliseconds by custom.", examples=[1642152600000]
    )


class Pong(Reply):
    """The server answers."""

    type: Literal["pong"] = "pong"
    timestamp: int | float
    server_time: Timestamp


class ErrorReply(Reply):
    """A request could not be carried out, or the connection is about to be closed."""

    type: Literal["error"] = "error"
    code: Code
    message: str
    details: dict[str, Any]
    timestamp: Timestamp


def now() -> datetime:
    """The moment that goes into a reply."""
    return timezone.now()


def error_frame(error: ProtocolError, request_id: object = None) -> str:
    """The one shape of an error; what is no proper request id is not carried back."""
    carried = request_id if isinstance(request_id, str) and len(request_id) <= REQUEST_ID_LENGTH else None
    return ErrorReply.model_construct(
        code=error.code,
        message=error.message,
        details=error.details,
        timestamp=now(),
        request_id=carried,
    ).frame()
