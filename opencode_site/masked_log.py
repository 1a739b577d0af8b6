"""The server's own log, without the secrets that an error message may quote."""

from __future__ import annotations

import logging

from processes.masking import mask


class MaskedFormatter(logging.Formatter):
    """Masks the whole entry, its traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))
