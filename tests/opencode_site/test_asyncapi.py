"""The protocol's document and the page made from it."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.core.management import call_command
from django.test import Client

from monitoring.events import Channel, Message
from opencode_site.asyncapi import EXAMPLES, UPDATES, document, reply_of, type_of
from opencode_site.ws.registry import ROUTES


def official_schema() -> dict[str, Any]:
    """AsyncAPI's own JSON Schema, from the npm package `@asyncapi/specs`."""
    path = os.environ.get("ASYNCAPI_SCHEMA")
    if not path:
        pytest.skip("ASYNCAPI_SCHEMA does not name AsyncAPI's official schema (.ci/run brings it)")
    schema: dict[str, Any] = json.loads(Path(path).read_text())
    return schema


def test_is_valid_by_the_official_schema() -> None:
    errors = list(jsonschema.Draft7Validator(official_schema()).iter_errors(document()))
    assert errors == []


def test_is_refused_by_the_official_schema_when_it_is_wrong() -> None:
    wrong = {**document(), "channels": []}
    assert list(jsonschema.Draft7Validator(official_schema()).iter_errors(wrong))


def test_lacks_no_message() -> None:
    """Whatever is a message of the protocol in the code is one in the document, and the other way round."""
    spoken = {type_of(route.schema) for route in ROUTES.values()}
    spoken |= {type_of(reply_of(route)) for route in ROUTES.values()}
    spoken |= {
        type_of(each) for each in _concrete(Message) if "type" in each.model_fields and _is_frame(each)
    }
    told = {message["name"] for message in document()["components"]["messages"].values()}
    assert told == spoken
    assert set(UPDATES) == set(Channel)


def test_has_the_specs_example_for_every_message() -> None:
    for name, message in document()["components"]["messages"].items():
        assert message["examples"][0]["payload"]["type"] == message["name"], name
        assert message["summary"]
    assert set(EXAMPLES) == set(document()["components"]["messages"])


@pytest.mark.parametrize("kind", list(ROUTES))
def test_shows_examples_of_requests_that_are_accepted(kind: str) -> None:
    assert ROUTES[kind].schema.model_validate(EXAMPLES[kind]).type == kind


def test_resolves_every_reference() -> None:
    text = json.dumps(document())
    for part in text.split('"$ref": "')[1:]:
        place: Any = document()
        for step in part.partition('"')[0].removeprefix("#/").split("/"):
            place = place[step]
        assert place


def test_is_printed_and_served(client: Client) -> None:
    out = StringIO()
    call_command("asyncapi", stdout=out)
    assert json.loads(out.getvalue()) == document()
    assert client.get("/asyncapi.json").json() == json.loads(json.dumps(document()))


def test_is_readable_as_a_page(client: Client) -> None:
    response = client.get("/docs/")
    page = response.content.decode()
    for name, operation in document()["operations"].items():
        assert f'<section id="{name}">' in page
        assert operation["summary"]
    assert "unsafe-inline" not in response["Content-Security-Policy"]


def _concrete(base: type[Message]) -> set[type[Message]]:
    return {each for child in base.__subclasses__() for each in {child, *_concrete(child)}}


def _is_frame(message: type[Message]) -> bool:
    """A message that goes over the wire by itself has its type as a constant."""
    return (
        message.model_fields["type"].default is not None
        and message.__module__ != __name__
        and isinstance(message.model_fields["type"].default, str)
    )


def test_says_which_scope_each_request_needs() -> None:
    operations = document()["operations"]
    assert {kind: operations[kind]["x-scope"] for kind in ROUTES} == {
        kind: route.needs.value for kind, route in ROUTES.items()
    }
    assert operations["kill_process"]["x-scope"] == "admin"
    assert operations["list_tasks"]["x-scope"] == "read"
