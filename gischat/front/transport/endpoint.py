"""The interface of a websocket's reading side to what handles its messages, such as a client's connection."""

from typing import Protocol

from gischat.protocol.long_text import LongText


class Endpoint(Protocol):
    """What receives a client's messages, and closes its connection for what is not a message."""

    last_received_at: float  # time of the last bytes received, by the loop's clock
    read_pause: float  # seconds for which reading must pause, once

    def write(self, data: bytes) -> None:
        """Send whole frames."""

    def stop_writing(self) -> None:
        """Send nothing more, because the close frame follows."""

    def receive(self, frame: str | LongText | bytes) -> None:
        """Handle a message: a text, or binary."""

    def on_control_frame(self, *, answer: bool = False) -> bool:
        """Count a control frame, or as many fragments as cost a message; False if it is one too many.

        Args:
            answer: tell the client that its message was not sent.
        """

    def receive_dropped(self, size: int, most: int | None = None) -> None:
        """Refuse a message of `size` bytes which is discarded: it has more than `most`, or the front no room for it."""

    def close_oversized(self, size: int, most: int) -> None:
        """Close the connection for an announced message of `size` bytes, which is not read to its end."""

    def close_slow_upload(self) -> None:
        """Close the connection for a message under way that makes no progress."""

    def close_for_memory(self) -> None:
        """Close the connection for frames that wait to be handled, which the front has no room for."""

    def fail(self, code: int, reason: str) -> None:
        """Close the connection for a violation of the protocol, with only a close frame."""
