"""What the kernel knows about a connection: how much of the sent data the client's system has acknowledged.

A client on a link of 50 kB/s takes half a minute to receive a channel's stored photos. A ping waits behind them, so its
answer is late although nothing is wrong. A connection closed for that would reconnect, be sent the same photos, and be
closed again.
"""

import fcntl
import socket
import struct
import sys
import termios
from typing import NamedTuple

TCP_INFO_BYTES = 128
RETRANSMITS_AT = 2  # tcpi_retransmits: consecutive retransmissions
MANY_RETRANSMITS = 3  # reached within two seconds, as a rule
BYTES_ACKED_AT = 120  # tcpi_bytes_acked, linux/tcp.h; since Linux 4.1


class AckMark(NamedTuple):
    """A position in the sent bytes, and the number of bytes acknowledged when it was taken."""

    acknowledged: int
    position: int


def take_mark(socket_: socket.socket, waiting: int) -> AckMark | None:
    """Mark the current end of the sent data; None if all is acknowledged, or the kernel does not tell.

    Args:
        waiting: bytes that have not been passed to the kernel yet.
    """
    ahead = waiting + _in_kernel(socket_)
    if not ahead:
        return None
    acknowledged = _acknowledged(socket_)
    return AckMark(acknowledged, acknowledged + ahead)


def mark_delivered(socket_: socket.socket, mark: AckMark) -> AckMark | None:
    """The same position with newly acknowledged bytes; None without progress, or if the position is reached."""
    acknowledged = _acknowledged(socket_)
    return mark._replace(acknowledged=acknowledged) if mark.acknowledged < acknowledged < mark.position else None


def is_delivered(socket_: socket.socket, mark: AckMark) -> bool:
    """Whether the client's system has acknowledged all bytes before the mark."""
    return _acknowledged(socket_) >= mark.position


def is_unreachable(socket_: socket.socket) -> bool:
    """Whether the client's system does not answer; False if the kernel does not tell.

    In that case the kernel retransmits repeatedly. It does not if only the client's program does not read: then the
    client's system acknowledges, and reports that its window is full (RFC 9293 §3.8.6.1).
    """
    return _retransmits(socket_) >= MANY_RETRANSMITS


if sys.platform == "linux":

    def _in_kernel(socket_: socket.socket) -> int:
        queued = fcntl.ioctl(socket_, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(queued, sys.byteorder)

    def _retransmits(socket_: socket.socket) -> int:
        info = socket_.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        return info[RETRANSMITS_AT] if len(info) > RETRANSMITS_AT else 0

    def _acknowledged(socket_: socket.socket) -> int:
        info = socket_.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        if len(info) < TCP_INFO_BYTES:
            return 0
        acknowledged: int = struct.unpack_from("=Q", info, BYTES_ACKED_AT)[0]
        return acknowledged

else:  # without this information, a late answer to a ping counts as a missing one

    def _retransmits(socket_: socket.socket) -> int:
        return 0

    def _in_kernel(socket_: socket.socket) -> int:
        return 0

    def _acknowledged(socket_: socket.socket) -> int:
        return 0
