"""WebSocket frames of the common kind, quicker than Autobahn takes and makes them (RFC 6455, section 5.2).

Whatever is not a whole, short text message in one frame is left to a library, with all its checks. Measured
with py-spy: of the CPU of a ping Autobahn's reading was 20 % and its sending 16 %, most of it for debug lines
that nobody reads and for messages in pieces.
"""

from __future__ import annotations

import struct

WHOLE_TEXT = 0x81
"""The first byte: a text, the last frame of its message, no extension's bits."""
MASKED = 0x80
LENGTH_FOLLOWS, LONG_LENGTH_FOLLOWS = 126, 127
MASK_BYTES = 4
LONGEST_HEADER = 14
"""Bytes before a client's payload."""


def take_texts(data: bytes) -> tuple[list[str], bytes]:
    """The texts that `data` begins with, and the rest: nothing, part of a frame, or one of another kind.

    The rest begins with the first frame that is none of a client's whole texts of less than 64 KiB, or that
    is no UTF-8.
    """
    texts = []
    place, size = 0, len(data)
    while size - place > 1 and data[place] == WHOLE_TEXT:
        length, begin = data[place + 1] ^ MASKED, place + 2
        if length == LENGTH_FOLLOWS:
            length, begin = int.from_bytes(data[begin : begin + 2]), begin + 2
            if length < LENGTH_FOLLOWS:
                break
        elif length > LENGTH_FOLLOWS:
            break
        begin += MASK_BYTES
        end = begin + length
        if end > size:
            break
        try:
            texts.append(_unmasked(data[begin:end], data[begin - MASK_BYTES : begin]).decode())
        except UnicodeDecodeError:
            break
        place = end
    return texts, data[place:]


def frame_size(data: bytes) -> int | None:
    """The length of the client's frame that `data` begins with; None where too little is there to tell."""
    if len(data) < 2:
        return None
    length, begin = data[1] & ~MASKED, 2
    if length >= LENGTH_FOLLOWS:
        begin += 2 if length == LENGTH_FOLLOWS else 8
        if len(data) < begin:
            return None
        length = int.from_bytes(data[2:begin])
    return begin + length + (MASK_BYTES if data[1] & MASKED else 0)


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    length = len(payload)
    pattern = (mask * (length // MASK_BYTES + 1))[:length]
    return (int.from_bytes(payload) ^ int.from_bytes(pattern)).to_bytes(length)


def text_frame(text: str) -> bytes:
    """A server's frame with a whole text."""
    payload = text.encode()
    length = len(payload)
    if length < LENGTH_FOLLOWS:
        return bytes((WHOLE_TEXT, length)) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", WHOLE_TEXT, LENGTH_FOLLOWS, length) + payload
    return struct.pack("!BBQ", WHOLE_TEXT, LONG_LENGTH_FOLLOWS, length) + payload
