"""The errors of the client."""


class ChatError(Exception):
    """The base of all errors of the client."""


class Refused(ChatError):
    """The server refuses a message, a nickname or this client, with a reason for people; nothing was published."""


class Unconfirmed(ChatError):
    """The result of a message is unknown: it may have been published, or may be later."""


class Unreachable(ChatError, ConnectionError):
    """The server cannot be reached: wrong address, no network, no server, or a restart."""

    def __init__(self, words: str, retry_after: float = 0.0) -> None:
        """Create it; `retry_after` is the number of seconds that the server asks to wait, 0 if it does not."""
        super().__init__(words)
        self.retry_after = retry_after
