"""Frames: a valid stream is read as it was written, however the network cuts it; any bytes are read or refused."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gischat.front.transport.frame_parser import (
    PING,
    PONG,
    WHOLE_BYTES,
    Control,
    Event,
    Fragment,
    FrameParser,
    MessageTooLong,
    ProtocolError,
    close_status,
)

MOST = 100_000  # bytes of a message that is kept
HEAD = 14  # bytes of a frame at the most, before its payload
# Where a frame is written or kept otherwise
BOUNDS = (0, 1, 125, 126, WHOLE_BYTES, WHOLE_BYTES + 1, 65_535, 65_536, MOST)

texts = st.text(max_size=300) | st.sampled_from(BOUNDS).map(lambda size: "x" * size)
binaries = st.binary(max_size=300) | st.sampled_from(BOUNDS).map(bytes)
controls = st.builds(Control, st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """Messages as another implementation of RFC 6455 writes them, in fragments, and what is to be read."""
    written, expected = b"", list[Event]()
    for message in draw(st.lists(texts | binaries | controls, min_size=1, max_size=5)):
        if isinstance(message, Control):
            written += Frame(Opcode(message.opcode), message.payload).serialize(mask=True)
            expected.append(message)
            continue
        payload = message.encode() if isinstance(message, str) else message
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
        places = list(pairwise([0, *cuts, len(payload)]))
        for number, (start, end) in enumerate(places):
            opcode = Opcode.CONT if number else Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
            is_last = number == len(places) - 1
            written += Frame(opcode, payload[start:end], is_last).serialize(mask=True)
            expected.append(message if is_last else Fragment.COMPLETE)
            if not is_last and (between := draw(st.none() | controls)):
                written += Frame(Opcode(between.opcode), between.payload).serialize(mask=True)
                expected.append(between)
    return written, expected


def read(parser: FrameParser, data: bytes, cuts: Sequence[int]) -> tuple[list[Event], str | None]:
    """What comes of bytes that arrive cut there, and the error in which they end, if they do."""
    found = list[Event]()
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        try:
            found.extend(parser.feed(data[start:end]))
        except (ProtocolError, MessageTooLong) as error:
            return found, repr(error)
        assert parser.held <= MOST + WHOLE_BYTES + HEAD
    return found, None


cuts = st.lists(st.integers(0, 2**20), max_size=12) | st.just(range(400))


@given(streams(), cuts)
def test_a_valid_stream_is_read_as_it_was_written(stream: tuple[bytes, list[Event]], cuts: Sequence[int]) -> None:
    written, expected = stream
    parser = FrameParser(MOST)
    assert read(parser, written, cuts) == (expected, None)
    assert not parser.is_midway
    assert parser.held == parser.progress == 0


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Any bytes; mostly such as begin like a valid stream."""
    data = bytearray(draw(streams())[0])
    for place, value in draw(st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=9)), max_size=4)):
        data[place % (len(data) + 1) :][: len(value)] = value
        place %= len(data) + 1
        data[place : place + len(value)] = value
    return bytes(data)


@given(st.binary(max_size=1000) | spoilt(), cuts)
def test_any_bytes_are_read_or_refused_and_cuts_make_no_difference(data: bytes, cuts: Sequence[int]) -> None:
    whole, error = read(FrameParser(MOST), data, [])
    found, its_error = read(FrameParser(MOST), data, cuts)
    assert its_error == error
    # Of a stream that ends in an error, what was read before counts for nothing when it comes in the same piece
    assert found == whole


@given(st.binary(max_size=140))
def test_any_close_frame_has_a_status_or_is_refused(payload: bytes) -> None:
    try:
        code, reason = close_status(payload)
    except ProtocolError:
        return
    assert payload == (b"" if code is None else code.to_bytes(2, "big") + reason.encode())
