"""A sans-I/O parser of clients' frames (RFC 6455 §5): it takes bytes, and yields complete messages and control frames.

It keeps nothing of a message that is too large: it parses the message to its end, and yields its size.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple, TypeVar

from tornado.util import _websocket_mask  # in C; the same in Python is forty times slower

from gischat.protocol.long_text import LongText, LongTextBuilder

WHOLE_BYTES = 4096  # shorter frames are parsed when they have arrived completely
MAX_ANNOUNCED_BYTES = 8  # times the maximal size: longer messages are not read to their end

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10  # opcodes
FIN, RESERVED, OPCODE, CONTROL, MASKED, LENGTH = 0x80, 0x70, 0x0F, 0x08, 0x80, 0x7F  # bits of the first two bytes
FINAL_TEXT = FIN | TEXT


T = TypeVar("T")

TEXT_NOT_UTF8 = "A text must be UTF-8."


class ProtocolError(Exception):
    """A client violates RFC 6455; the connection is failed with this close code (§7.1.7)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class MessageTooLong(Exception):
    """A message announces `size` bytes, too many to read even without keeping them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Control(NamedTuple):
    """A control frame."""

    opcode: int
    payload: bytes


class Dropped(NamedTuple):
    """The end of a message that was too large, and was not kept; `size` in bytes."""

    size: int


class Fragment(Enum):
    """The end of a frame that is not the last one of its message."""

    COMPLETE = 1


Event = str | LongText | bytes | Control | Dropped | Fragment  # str, LongText: a text message; bytes: a binary one


class FrameParser:
    """Parses the frames of one client.

    Attributes:
        size: bytes that the frames of the unfinished message have announced so far.
        is_dropped: the unfinished message is not kept.
    """

    __slots__ = (
        "_final",
        "_incomplete",
        "_left",
        "_mask",
        "_max_size",
        "_opcode",
        "_parts",
        "is_dropped",
        "size",
    )

    def __init__(self, max_size: int) -> None:
        """Create the parser; `max_size` is the size of the longest message that is kept, in bytes."""
        self._max_size = max_size
        self._incomplete = b""  # the beginning of a frame that is not parsed yet
        self._opcode = 0  # of the unfinished message; 0 if there is none
        self._parts: LongTextBuilder | None = None  # the unmasked payload of that message so far
        self.is_dropped = False
        self._left = 0  # bytes of the current frame that have not arrived
        self._mask = b""  # for the next of these bytes
        self._final = 0  # the FIN bit of the current frame
        self.size = 0

    @property
    def is_midway(self) -> bool:
        """Whether a frame or message is unfinished."""
        return bool(self._incomplete or self._opcode)

    @property
    def held(self) -> int:
        """Bytes buffered."""
        return len(self._incomplete) + (self._parts.size if self._parts else 0)

    @property
    def progress(self) -> int:
        """Bytes of the unfinished frame or message that have arrived."""
        return len(self._incomplete) + (self.size - self._left if self._opcode else 0)

    def drop(self) -> int:
        """Discard the unfinished message, if there is one; ignore the rest of it. Returns the bytes discarded."""
        size = self._parts.size if self._parts else 0
        self.is_dropped = bool(self._opcode)
        self._parts = None
        return size

    def clear(self) -> None:
        """Discard everything; nothing may be fed afterwards."""
        self.drop()
        self._incomplete = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what these bytes complete. The caller exhausts the iterator before it feeds more.

        Raises:
            ProtocolError: the client violates RFC 6455.
            MessageTooLong: a message announces too many bytes.
        """
        if self._incomplete:
            data, self._incomplete = self._incomplete + data, b""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                at += self._continue_frame(data[at : at + self._left])
                if not self._left:
                    yield self._end_frame()
                continue
            if end - at < 2:
                break
            first, length = data[at], data[at + 1] & LENGTH
            if first != FINAL_TEXT or self._opcode:
                self._check_head(first, length)
            if not data[at + 1] & MASKED:
                raise ProtocolError(1002, "A client's frames must be masked.")  # §5.1
            start = at + 6
            if length > 125:
                start += 2 if length == 126 else 8
                if start > end:
                    break
                length = int.from_bytes(data[at + 2 : start - 4], "big")
                if length >> 63:
                    raise ProtocolError(1002, "A frame's length is below 2 to the power of 63.")  # §5.2
            stop = start + length
            if stop > end and length <= WHOLE_BYTES:
                break
            mask = data[start - 4 : start]
            if first & CONTROL:
                at = stop
                yield Control(first & OPCODE, _websocket_mask(mask, data[start:stop]))
            elif first == FINAL_TEXT and stop <= end and length <= self._max_size:
                at = stop
                yield _checked(_websocket_mask(mask, data[start:stop]).decode)
            else:
                self._begin_frame(first, length, mask)
                at = start
                if not length:
                    yield self._end_frame()
        if at < end:
            self._incomplete = data[at:]

    def _check_head(self, first: int, length: int) -> None:
        """Check a frame's first byte, and the length in its second byte (§5.2, §5.4, §5.5)."""
        opcode = first & OPCODE
        if first & RESERVED:
            raise ProtocolError(1002, "Reserved bits are set, and no extension was agreed on.")
        if opcode & CONTROL:
            if opcode > PONG:
                raise ProtocolError(1002, "Unknown opcode.")
            if not first & FIN or length > 125:
                raise ProtocolError(1002, "Control frames have one frame and at most 125 bytes.")
        elif opcode > BINARY:
            raise ProtocolError(1002, "Unknown opcode.")
        elif bool(opcode) == bool(self._opcode):
            raise ProtocolError(1002, "A message begins in the midst of another." if opcode else "Nothing to continue.")

    def _begin_frame(self, first: int, length: int, mask: bytes) -> None:
        """Start a frame that is long, or one of several of a message."""
        if first & OPCODE:
            self._opcode, self.size, self.is_dropped = first & OPCODE, 0, False
        self._final, self._left, self._mask = first & FIN, length, mask
        self.size += length
        if self.size > MAX_ANNOUNCED_BYTES * self._max_size:
            raise MessageTooLong(self.size)
        if self.size > self._max_size:
            self.drop()

    def _continue_frame(self, masked: bytes) -> int:
        size = len(masked)
        if not self.is_dropped:
            self._keep(_websocket_mask(self._mask, masked))
            turn = size % 4
            self._mask = self._mask[turn:] + self._mask[:turn]
        self._left -= size
        return size

    def _keep(self, data: bytes) -> None:
        if self._parts is None:
            self._parts = LongTextBuilder()
        self._parts.add(data)

    def _end_frame(self) -> Event:
        if not self._final:
            return Fragment.COMPLETE
        opcode, parts = self._opcode, self._parts or LongTextBuilder()
        self._opcode, self._parts = 0, None
        if self.is_dropped:
            return Dropped(self.size)
        return _checked(parts.text) if opcode == TEXT else parts.data()


def _checked(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except UnicodeDecodeError:
        raise ProtocolError(1007, TEXT_NOT_UTF8) from None  # §8.1


def close_status(payload: bytes) -> tuple[int | None, str]:
    """Decode a client's close frame: the code, None if there is none, and the reason.

    Raises:
        ProtocolError: the frame is invalid, or its code must not be sent (§5.5.1, §7.4).
    """
    if not payload:
        return None, ""
    if len(payload) == 1:
        raise ProtocolError(1002, "A close code has two bytes.")
    code = int.from_bytes(payload[:2], "big")
    # Registered with IANA for close frames; 1004 to 1006 and 1015 must not be sent
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ProtocolError(1002, f"{code} is not a close code.")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(1007, "A close reason must be UTF-8.") from None
