"""The protocol as an AsyncAPI 3 document, made of what is spoken: the registry and the update messages."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from django.conf import settings
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from monitoring.events import Channel, LogEntryUpdate, Message, ResourceUpdate
from opencode_site import __version__
from opencode_site.ws.errors import Code
from opencode_site.ws.registry import ROUTES, Route
from opencode_site.ws.schemas.basic import ConnectionEstablished, ErrorReply, Reply
from tasks.events import AgentUpdate, TaskStatusUpdate

EXAMPLES: dict[str, Any] = json.loads(Path(__file__).with_name("examples.json").read_text())
"""The original specification's own examples, by message."""
UPDATES: dict[Channel, type[Message]] = {
    Channel.SYSTEM_RESOURCES: ResourceUpdate,
    Channel.TASK_STATUS: TaskStatusUpdate,
    Channel.LOG_ENTRIES: LogEntryUpdate,
    Channel.AGENT_STATUS: AgentUpdate,
}
"""What is sent to the subscribers of each channel."""
UNASKED: tuple[type[Message], ...] = (ConnectionEstablished, ErrorReply, *UPDATES.values())
API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "Asked for when OPENCODE_AUTH is on. Each request's `x-scope` says what its key must be "
    "allowed: read, operate (which includes read) or admin (which includes both).",
}
REF = "#/components/schemas/{model}"
ABOUT = """\
Runs, watches and controls AI coding agents. Every message is the text of one WebSocket frame, a JSON object
with a `type`. Any request may carry a `request_id` (a string), which its reply or error carries back. Times
are UTC, ISO 8601, with milliseconds and `Z`. Updates go to subscribers only. Fields marked (extension) are
ours beyond the original API."""


def reply_of(route: Route) -> type[Reply]:
    """The class of the reply that a route's handler returns."""
    hint = get_type_hints(route.handler, include_extras=True)["return"]
    return next(
        each for each in (*get_args(hint), hint) if isinstance(each, type) and issubclass(each, Reply)
    )


def type_of(message: type[BaseModel]) -> str:
    """The message's `type` on the wire."""
    values = get_args(message.model_fields["type"].annotation)
    return str(values[0])


@cache
def document() -> dict[str, Any]:
    """The whole document."""
    replies = {kind: reply_of(route) for kind, route in ROUTES.items()}
    messages: dict[str, type[BaseModel]] = {kind: route.schema for kind, route in ROUTES.items()}
    messages |= {_name(each): each for each in (*UNASKED, *replies.values())}
    schemas = _schemas(list(messages.values()))
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "OpenCode Agent Automation", "version": __version__, "description": ABOUT},
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": f"{settings.HOST}:{settings.PORT}",
                "protocol": "wss" if settings.TLS_CERT else "ws",
                "description": "The server's own address.",
                "security": [{"$ref": "#/components/securitySchemes/apiKey"}] if settings.AUTH else [],
            }
        },
        "channels": {
            "ws": {
                "address": "/ws",
                "description": "The one WebSocket.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            **{kind: _request(kind, _name(replies[kind])) for kind in ROUTES},
            **{_name(each): _unasked(each) for each in UNASKED},
        },
        "components": {
            "messages": {name: _message(name, each) for name, each in messages.items()},
            "schemas": schemas,
            "securitySchemes": {"apiKey": API_KEY},
        },
    }


def _name(message: type[BaseModel]) -> str:
    """The message's name in the document; a reply that has its request's type is told apart."""
    kind = type_of(message)
    return f"{kind}_reply" if kind in ROUTES else kind


def _request(kind: str, reply: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/ws"},
        "summary": _summary(ROUTES[kind].schema),
        "x-scope": ROUTES[kind].needs.value,
        "messages": [{"$ref": f"#/channels/ws/messages/{kind}"}],
        "reply": {
            "channel": {"$ref": "#/channels/ws"},
            "messages": [{"$ref": f"#/channels/ws/messages/{name}"} for name in (reply, "error")],
        },
    }


def _unasked(message: type[Message]) -> dict[str, Any]:
    name = _name(message)
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/ws"},
        "summary": _summary(message),
        "messages": [{"$ref": f"#/channels/ws/messages/{name}"}],
    }


def _message(name: str, message: type[BaseModel]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": type_of(message),
        "title": name,
        "summary": _summary(message),
        "payload": {"$ref": REF.format(model=message.__name__)},
    }
    if example := EXAMPLES.get(name):
        described["examples"] = [{"name": name, "payload": example}]
    return described


def _summary(message: type[BaseModel]) -> str:
    return (message.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _schemas(models: list[type[BaseModel]]) -> dict[str, Any]:
    _, collected = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=REF
    )
    schemas: dict[str, Any] = collected["$defs"]
    for model in models:
        schema = schemas[model.__name__]
        required = [name for name in schema.get("required", []) if name != "type"]
        schema["required"] = ["type", *required]
    schemas["Code"]["description"] = "What went wrong: " + ", ".join(code.value for code in Code)
    return schemas
