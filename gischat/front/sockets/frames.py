"""Websocket frames as they go over the wire, from server to client (RFC 6455 §5.2): final, unmasked, uncompressed."""

import struct

TEXT = 0x81  # FIN and opcode 1
PING = b"\x89\x00"  # FIN and opcode 9, with no content


def text_frame(payload: bytes) -> bytes:
    """A whole text message in one frame; `payload` is UTF-8."""
    size = len(payload)
    if size < 126:
        header = struct.pack("!BB", TEXT, size)
    elif size < 2**16:
        header = struct.pack("!BBH", TEXT, 126, size)
    else:
        header = struct.pack("!BBQ", TEXT, 127, size)
    return header + payload
