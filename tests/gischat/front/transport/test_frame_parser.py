"""Clients' frames, made by another implementation of RFC 6455, are parsed in pieces of any size."""

import itertools
from collections.abc import Iterable

import pytest
from websockets.frames import Frame, Opcode

from gischat.front.transport.frame_parser import (
    CLOSE,
    MAX_ANNOUNCED_BYTES,
    WHOLE_BYTES,
    Control,
    Dropped,
    Event,
    Fragment,
    FrameParser,
    MessageTooLong,
    ProtocolError,
    close_status,
)

MOST = 100_000  # bytes of the longest message that is accepted


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True, *, mask: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=mask)


def events(parser: FrameParser, data: bytes, step: int) -> list[Event]:
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    return list(itertools.chain.from_iterable(map(parser.feed, pieces)))


def fragmented(payload: bytes, size: int, opcode: Opcode = Opcode.TEXT) -> bytes:
    starts = range(0, len(payload), size)
    return b"".join(
        frame(payload[at : at + size], Opcode.CONT if at else opcode, at + size >= len(payload)) for at in starts
    )


TOO_LARGE = {
    "one frame": [frame(b"x" * (MOST + 1))],
    "many": [fragmented(b"x" * (3 * MOST), 20_000)],
    "the longest": [frame(b"x" * (MAX_ANNOUNCED_BYTES * MOST))],
}


@pytest.mark.parametrize("step", [999, 10**7])
@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_message_that_is_too_large_is_discarded_and_its_size_reported(sent: Iterable[bytes], step: int) -> None:
    parser = FrameParser(MOST)
    data = b"".join(sent)
    found = list[Event]()
    for at in range(0, len(data), step):
        found += parser.feed(data[at : at + step])
        assert parser.held <= MOST + WHOLE_BYTES
    *fragments, dropped = found
    assert isinstance(dropped, Dropped)
    assert dropped.size > MOST
    assert set(fragments) <= {Fragment.COMPLETE}
    # And the next one is read normally
    assert events(parser, frame(b"next"), step) == ["next"]


def test_the_memory_of_a_message_that_becomes_too_large_is_released() -> None:
    parser = FrameParser(MOST)
    list(parser.feed(frame(b"x" * MOST, fin=False)))
    assert parser.held == MOST
    list(parser.feed(frame(b"x", Opcode.CONT, fin=False)))
    assert (parser.held, parser.is_midway, parser.is_dropped) == (0, True, True)


def test_a_message_announced_beyond_the_limit_is_not_read() -> None:
    whole = frame(b"x" * (MAX_ANNOUNCED_BYTES * MOST + 1))
    with pytest.raises(MessageTooLong) as raised:
        list(FrameParser(MOST).feed(whole[:20]))
    assert raised.value.size == MAX_ANNOUNCED_BYTES * MOST + 1
    # Neither is one in many frames
    with pytest.raises(MessageTooLong):
        events(FrameParser(MOST), fragmented(b"x" * (MAX_ANNOUNCED_BYTES * MOST + 1), MOST), 10**6)


def test_a_message_dropped_while_it_arrives_is_not_delivered() -> None:
    parser = FrameParser(MOST)
    list(parser.feed(frame(b"one", fin=False)))
    parser.drop()
    assert list(parser.feed(frame(b"two", Opcode.CONT) + frame(b"three"))) == [Dropped(6), "three"]


def test_progress_is_the_received_size_of_the_unfinished_message() -> None:
    parser = FrameParser(MOST)
    whole = frame(b"x" * 50_000)
    list(parser.feed(whole[:3]))
    assert (parser.progress, parser.is_midway) == (3, True)
    list(parser.feed(whole[3:30_000]))
    assert parser.progress == parser.held == 30_000 - 8
    parser.drop()
    list(parser.feed(whole[30_000:40_000]))
    assert (parser.progress, parser.held) == (40_000 - 8, 0)


WRONG = {
    "not masked": frame(b"", mask=False),
    "reserved bit 1": b"\xc1\x80abcd",
    "reserved bit 2": b"\xa1\x80abcd",
    "reserved bit 3": b"\x91\x80abcd",
    "reserved bits of a control frame": b"\xd9\x80abcd",
    "opcode 3": b"\x83\x80abcd",
    "opcode 11": b"\x8b\x80abcd",
    "a ping in fragments": b"\x09\x80abcd",
    "a ping of 126 bytes": b"\x89\xfe\x00\x7eabcd",
    "a close frame of 64 kB": b"\x88\xff",
    "nothing to continue": frame(b"x", Opcode.CONT),
    "a message within another": frame(b"x", fin=False) + frame(b"y"),
    "a length of 64 bits": b"\x82\xff" + b"\xff" * 8 + b"abcd",
}


@pytest.mark.parametrize("sent", WRONG.values(), ids=WRONG)
def test_a_protocol_violation_closes_with_1002_at_once(sent: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        events(FrameParser(MOST), sent, 1)
    assert raised.value.code == 1002
    assert len(raised.value.reason.encode()) <= 123


@pytest.mark.parametrize("cut", [1, 2, 5000])
def test_a_text_that_is_not_utf_8_closes_with_1007(cut: int) -> None:
    with pytest.raises(ProtocolError) as raised:
        events(FrameParser(MOST), fragmented(b"x" * 5000 + b"\xed\xa0\x80", cut), 10**6)
    assert raised.value.code == 1007


# Close frames (RFC 6455 §7.4)


def test_a_close_frame_is_empty_or_has_a_valid_code_and_reason() -> None:
    assert close_status(b"") == (None, "")
    for payload, code in ((b"\x03", 1002), (b"\x03\xe8\xff\xfe", 1007)):
        with pytest.raises(ProtocolError) as raised:
            close_status(payload)
        assert raised.value.code == code


def test_a_close_frame_begins_with_its_opcode() -> None:
    (found,) = events(FrameParser(MOST), frame(b"\x03\xe8", Opcode.CLOSE), 100)
    assert found == Control(CLOSE, b"\x03\xe8")
