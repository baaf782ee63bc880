"""What a program is told when the chat does not do what it asked for."""


class ChatError(Exception):
    """What all of these are."""


class Refused(ChatError):
    """The server does not want a message, a nickname or this client: why, in its words, for people.

    What was sent has not been published.
    """


class Unconfirmed(ChatError):
    """The server has not said what became of a message: it may have been published, or may still be."""


class Unreachable(ChatError, ConnectionError):
    """There is no way to the server: a wrong address, no network, nobody who listens, a server that restarts."""

    def __init__(self, words: str, retry_after: float = 0.0) -> None:
        """
        Args:
            retry_after: seconds, for which the server asks; 0 if it does not.
        """
        super().__init__(words)
        self.retry_after = retry_after
