"""What the kernel knows of a connection: how far the other end has got with what was sent.

Someone in the field, on a link of fifty kilobytes a second, takes half a minute for a channel's stored photos. A
ping waits behind them, so its answer is late though nothing is wrong; whoever were closed for it would come back, be
sent the same photos, and be closed again.
"""

import fcntl
import socket
import struct
import sys
import termios
from typing import NamedTuple

TCP_INFO_BYTES = 128
RETRANSMITS_AT = 2  # tcpi_retransmits: of what is on its way, one after the other
MANY_RETRANSMITS = 3  # within two seconds, as a rule
BYTES_ACKED_AT = 120  # tcpi_bytes_acked, linux/tcp.h; since Linux 4.1


class AckMark(NamedTuple):
    """A place in what is sent, and how much the other end had when it was set; in bytes."""

    acknowledged: int
    place: int


def take_mark(socket_: socket.socket, waiting: int) -> AckMark | None:
    """Marks the end of what is sent; None when the other end has it all, or where the kernel does not tell.

    Args:
        waiting: bytes that the kernel has not been given yet.
    """
    ahead = waiting + _in_kernel(socket_)
    if not ahead:
        return None
    acknowledged = _acknowledged(socket_)
    return AckMark(acknowledged, acknowledged + ahead)


def mark_delivered(socket_: socket.socket, mark: AckMark) -> AckMark | None:
    """The same place, with what the other end has now, if it has taken something and has not come to the place yet."""
    acknowledged = _acknowledged(socket_)
    return mark._replace(acknowledged=acknowledged) if mark.acknowledged < acknowledged < mark.place else None


def is_delivered(socket_: socket.socket, mark: AckMark) -> bool:
    """Whether the other end's system has all that stands before the mark."""
    return _acknowledged(socket_) >= mark.place


def is_unreachable(socket_: socket.socket) -> bool:
    """Whether the other end's system does not answer either; False where ours does not tell.

    What was sent is sent again and again then. A program that does not read is something else: its system answers that
    its window is full (RFC 9293 §3.8.6.1), and nothing is on its way.
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

else:  # there, a late answer is a missing one

    def _retransmits(socket_: socket.socket) -> int:
        return 0

    def _in_kernel(socket_: socket.socket) -> int:
        return 0

    def _acknowledged(socket_: socket.socket) -> int:
        return 0
