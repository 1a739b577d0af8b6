"""The server's own log, without the secrets that an error message may quote: for people, or as JSON."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.orjson import OrjsonFormatter

from monitoring.times import utc_text
from processes.masking import mask


class MaskedFormatter(logging.Formatter):
    """Masks the whole entry, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


class MaskedJsonFormatter(OrjsonFormatter):
    """An object in one line, each of its texts masked by itself: the line stays JSON."""

    def __init__(self) -> None:
        super().__init__(
            ["asctime", "levelname", "name", "message", "task", "run"],
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "traceback",
            },
            reserved_attrs=[*RESERVED_ATTRS, "about"],
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return utc_text(datetime.fromtimestamp(record.created, UTC))

    def process_log_record(self, log_data: LogData) -> LogData:
        return {name: mask(value) if isinstance(value, str) else value for name, value in log_data.items()}
