"""Close codes, their reasons, and the texts that clients get before, because they show neither code nor reason.

The reason is for logs and programs; the text for users says what happened and what to do.
"""

from typing import NamedTuple

from gischat.front.limits.rate_limit import LIMIT_EXCEEDED_REPEATEDLY


class CloseStatus(NamedTuple):
    """A close frame's code and reason, and the text that the client's user gets before."""

    code: int
    reason: str
    user_message: str


SHUTTING_DOWN = CloseStatus(
    1001,
    "The server is about to restart.",
    "The server restarts: disconnect and connect again in a moment.",
)
PING_TIMEOUT = CloseStatus(
    1008,
    "No answer to our ping.",
    "The server heard nothing from you for too long, and has disconnected you: disconnect and connect again.",
)
SLOW_CLIENT = CloseStatus(
    1008,
    "Too slow: what was sent to you was not read.",
    "Your network is too slow for what this channel sends, and the server has disconnected you:"
    " disconnect and connect again.",
)
RATE_LIMIT_ABUSE = CloseStatus(
    1008,
    LIMIT_EXCEEDED_REPEATEDLY,
    f"{LIMIT_EXCEEDED_REPEATEDLY} The server has disconnected you: wait a minute, then disconnect and connect again.",
)
SLOW_UPLOAD = CloseStatus(
    1008,
    "A message has begun, and makes no progress.",
    "What you sent came too slowly, and was not sent. The server has disconnected you:"
    " disconnect and connect again, and send it over a faster network.",
)
MEMORY_FULL = CloseStatus(
    1013,
    "No memory is left for unfinished messages, and your address has most of them.",
    "Too much is being sent to the server at the moment, most of it from your network address. Your last"
    " messages were not sent, and the server has disconnected you: disconnect and connect again in a moment, and send"
    " them again.",
)
KEY_ENDED = CloseStatus(
    1008,
    "The key of this connection has ended.",
    "The key in your instance's address has ended, and the server has disconnected you:"
    " ask the people who gave it to you for a new one.",
)
HISTORY_TIMEOUT = CloseStatus(
    1013,
    "The history could not be read in time.",
    "The channel's last messages could not be read in time: disconnect and connect again in a moment.",
)

DISCONNECTED = "Disconnected by a moderator."  # and the moderator's reason


def message_too_long(size: int, most: int) -> CloseStatus:
    """The close status for a message that is not read to its end."""
    advice = "The server has disconnected you: disconnect and connect again, and send something smaller."
    return CloseStatus(1009, "The message is too long.", f"{oversized_words(size, most)} {advice}")


def unknown_channel(channel: str) -> CloseStatus:
    reason = f"Channel '{channel}' does not exist."
    return CloseStatus(1008, reason, f"{reason} Choose another one.")


def private_channel(reason: str, advice: str) -> CloseStatus:
    return CloseStatus(1008, reason, f"{reason} {advice}".strip())


def oversized_words(size: int, most: int) -> str:
    """The text about a message of `size` bytes, with enough decimals to show that it exceeds `most`."""
    for decimals in range(1, 7):
        has, may = f"{size / 1e6:.{decimals}f}", f"{most / 1e6:.{decimals}f}"
        if has != may and float(may):
            break
    return f"This message has {has} MB; at most {may} MB can be sent here. It was not sent."
