"""The protocol's reference: the AsyncAPI document, and a page made from it."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from opencode_site.asyncapi import document

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@require_safe
def asyncapi(request: HttpRequest) -> HttpResponse:
    """The document as JSON."""
    return JsonResponse(document())


@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    """The document for people."""
    response = render(request, "reference.html", {"api": document(), "groups": groups()})
    response["Content-Security-Policy"] = POLICY
    return response


def groups() -> list[tuple[str, list[dict[str, Any]]]]:
    """What is shown, under its headings: requests with their replies, then what the server sends unasked."""
    api = document()
    asked, unasked = [], []
    for name, operation in api["operations"].items():
        if operation["action"] == "receive":
            reply = operation["reply"]["messages"][0]["$ref"].rpartition("/")[2]
            asked.append({"name": name, "request": _shown(name), "reply": _shown(reply)})
        else:
            unasked.append({"name": name, "message": _shown(name)})
    return [("Requests", asked), ("Sent unasked", unasked)]


def _shown(name: str) -> dict[str, Any]:
    api = document()
    message = api["components"]["messages"][name]
    schema = _resolve(message["payload"])
    example = message.get("examples", [{}])[0].get("payload")
    return {
        "type": message["name"],
        "summary": message["summary"],
        "fields": _fields(schema, prefix="", depth=0),
        "example": json.dumps(example, indent=2) if example else "",
    }


def _fields(schema: dict[str, Any], *, prefix: str, depth: int) -> list[dict[str, Any]]:
    """A schema's fields as rows, those of objects inside it below theirs with a dotted name."""
    rows = []
    for name, field in schema.get("properties", {}).items():
        if name in ("type", "request_id") and depth == 0:
            continue
        inner, word = _kind(field)
        rows.append(
            {
                "name": f"{prefix}{name}",
                "kind": word,
                "required": name in schema.get("required", []),
                "about": _about(field, {} if word.startswith("list") else inner),
            }
        )
        if inner.get("properties"):
            mark = "[]." if word.startswith("list") else "."
            rows += _fields(inner, prefix=f"{prefix}{name}{mark}", depth=depth + 1)
    return rows


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    if reference := schema.get("$ref"):
        resolved: dict[str, Any] = document()["components"]["schemas"][reference.rpartition("/")[2]]
        return resolved
    return schema


def _kind(field: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The schema behind a field, and its type in words; null only says that it may be absent."""
    choices = [each for each in field.get("anyOf", []) if each.get("type") != "null"]
    schema = _resolve(choices[0]) if len(choices) == 1 else _resolve(field)
    if len(choices) > 1:
        return schema, " or ".join(_kind(each)[1] for each in choices)
    if schema.get("type") == "array":
        inner, word = _kind(schema["items"])
        return inner, f"list of {word}"
    if "const" in schema:
        return schema, json.dumps(schema["const"])
    if "enum" in schema:
        return schema, " | ".join(map(str, schema["enum"]))
    return schema, str(schema.get("type", "any"))


def _about(field: dict[str, Any], inner: dict[str, Any]) -> str:
    bounds = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "maxItems": "at most {} items",
    }
    own = {**inner, **field}
    said = [text for text in (field.get("description") or "",) if text]
    said += [text.format(own[name]) for name, text in bounds.items() if name in own]
    if field.get("default") not in (None, "", [], {}) and not isinstance(field.get("default"), dict):
        said.append(f"default {field['default']}")
    return "; ".join(text.rstrip(".") for text in said)
