"""The quick way of frames against the codec of the `websockets` library, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from opencode_site.ws.frames import take_texts, text_frame

LENGTHS = (0, 1, 125, 126, 127, 65_535)
texts = st.one_of(st.text(max_size=200), st.sampled_from(LENGTHS).map("x".__mul__))


def sent(text: str) -> bytes:
    """What a client sends; the library takes a random mask."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


def heard(data: bytes) -> str:
    """What the library makes of a server's frame that is all of `data`."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    frame: Frame = done.value.value
    assert (frame.opcode, frame.fin, frame.rsv1 | frame.rsv2 | frame.rsv3) == (Opcode.TEXT, True, False)
    assert not reader.buffer
    return bytes(frame.data).decode()


@given(st.lists(texts, max_size=5), st.data())
def test_takes_the_whole_texts_and_leaves_the_rest(sent_texts: list[str], data: st.DataObject) -> None:
    frames = [sent(text) for text in sent_texts]
    stream = b"".join(frames)
    cut = data.draw(st.integers(0, len(stream)))
    taken, rest = take_texts(stream[:cut])
    assert taken == sent_texts[: len(taken)]
    assert rest == stream[sum(map(len, frames[: len(taken)])) : cut]
    assert len(taken) == len(frames) or len(rest) < len(frames[len(taken)])


UNMASKED = Frame(Opcode.TEXT, b"x").serialize(mask=False)
TOO_LONG_A_LENGTH = b"\x81\xfe\x00\x05maskhello"
OTHERS = {
    "a ping": Frame(Opcode.PING, b"x").serialize(mask=True),
    "a close": Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True),
    "bytes": Frame(Opcode.BINARY, b"x").serialize(mask=True),
    "the beginning of a message": Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=True),
    "an extension's bit": bytes([0xC1]) + sent("x")[1:],
    "no mask": UNMASKED,
    "no mask and no byte": Frame(Opcode.TEXT, b"").serialize(mask=False),
    "no mask, 200 bytes": Frame(Opcode.TEXT, b"x" * 200).serialize(mask=False),
    "no mask, 65 536 bytes": Frame(Opcode.TEXT, b"x" * 65_536).serialize(mask=False),
    "64 KiB": sent("x" * 65_536),
    "a length that is not the shortest": TOO_LONG_A_LENGTH,
    "no UTF-8": Frame(Opcode.TEXT, b"\xff").serialize(mask=True),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_leaves_every_other_frame_to_autobahn(other: bytes) -> None:
    stream = other + sent("after it")
    assert take_texts(stream) == ([], stream)
    assert take_texts(sent("before it") + other) == (["before it"], other)


@given(texts)
def test_makes_frames_that_others_read(text: str) -> None:
    assert heard(text_frame(text)) == text


@pytest.mark.parametrize("length", [*LENGTHS, 65_536, 100_000])
def test_makes_frames_of_every_form_of_length(length: int) -> None:
    assert heard(text_frame("x" * length)) == "x" * length
