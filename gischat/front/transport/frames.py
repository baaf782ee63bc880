"""Encoding of websocket frames from server to client (RFC 6455 §5.2): final, unmasked, uncompressed."""

import struct
from collections.abc import Iterable, Iterator

TEXT = 0x81  # FIN and opcode 1
CLOSE = 0x88
PONG = 0x8A
PING = b"\x89\x00"  # FIN and opcode 9, without payload

PIECE_BYTES = 2**17  # sent at once, some 60 µs; what is larger goes out in pieces: see `write_scheduler`

REASON_BYTES = 123  # maximum in a close frame, besides its code (RFC 6455 §5.5)


def text_frame(payload: bytes) -> bytes:
    """Encode a text message as one frame; `payload` is UTF-8."""
    size = len(payload)
    if size < 126:
        header = struct.pack("!BB", TEXT, size)
    elif size < 2**16:
        header = struct.pack("!BBH", TEXT, 126, size)
    else:
        header = struct.pack("!BBQ", TEXT, 127, size)
    return header + payload


def joined(frames: Iterable[bytes]) -> list[bytes]:
    """The same bytes for fewer writes: small frames are joined, large ones stay what others are sent, too."""
    writes: list[bytes] = []
    small: list[bytes] = []
    for frame in frames:
        if len(frame) <= PIECE_BYTES:
            small.append(frame)
            continue
        writes += [b"".join(small), frame] if small else [frame]
        small.clear()
    return [*writes, b"".join(small)] if small else writes


def pong_frame(payload: bytes) -> bytes:
    """Encode the answer to a ping, with the ping's payload of at most 125 bytes."""
    return bytes((PONG, len(payload))) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Encode a close frame; too long a reason is cut between two characters."""
    if code is None:
        return bytes((CLOSE, 0))
    payload = struct.pack("!H", code) + reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
    return bytes((CLOSE, len(payload))) + payload


def text_payloads(frames: bytes) -> Iterator[bytes]:
    """Decode consecutive frames made by `text_frame`; skips frames of other types."""
    start = 0
    while start < len(frames):
        opcode, size = frames[start], frames[start + 1]
        start += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(frames[start : start + width])
            start += width
        if opcode == TEXT:
            yield frames[start : start + size]
        start += size
