"""The server's own log."""

from __future__ import annotations

import logging
import logging.config
from typing import Any

import pytest


def test_hides_secrets_in_messages_and_tracebacks(settings: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (handler,) = settings.LOGGING["root"]["handlers"]
    formatter = settings.LOGGING["formatters"][settings.LOGGING["handlers"][handler]["formatter"]]
    made = logging.config.DictConfigurator({"version": 1, "formatters": {}}).configure_formatter(
        dict(formatter)
    )
    try:
        raise ConnectionError("redis://:hunter2hunter2@broker/0 is away")
    except ConnectionError as error:
        record = logging.makeLogRecord(
            {"msg": "key %s", "args": (f"ghp_{'a1' * 18}",), "exc_info": (type(error), error, None)}
        )
    text = made.format(record)
    assert "key ghp_[masked]" in text
    assert "redis://:[masked]@broker/0 is away" in text
    assert "hunter2" not in text
