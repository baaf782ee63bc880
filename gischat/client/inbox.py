"""The inbox: received messages that are unread, each once and in order, bounded in bytes.

Messages that do not fit are dropped; the server keeps them for a while. When the inbox is empty, the client reconnects
with `?after=` and receives them.
"""

import asyncio
from collections import deque

from gischat.client.errors import ChatError
from gischat.client.messages import (
    PRIVATE,
    Gap,
    LivePositionMessage,
    Message,
    NbUsersMessage,
    Received,
    UncompliantMessage,
)

# The server's texts about missing messages
MISSED = "What you missed is no longer kept: some messages may be missing. The last ones follow."
CUT_OFF = "The server was cut off for a moment: some messages may be missing."

NOBODY = "00000000-0000-0000-0000-000000000000"  # no message has this id
REMEMBERED = 10_000  # ids of received messages: some megabytes
OVERHEAD = 500  # bytes of memory per message besides its text


class Inbox:
    """A queue of received messages, filled by the connection and read by the program.

    `position` is the id of the last message read, of those sent to everyone.
    """

    def __init__(self, max_bytes: int, after: str | None, *, with_history: bool) -> None:
        """Create an empty inbox.

        Args:
            max_bytes: approximate maximum of unread messages; one message always fits.
            after: the id of the last message that the program has from an earlier chat.
            with_history: keep messages from before the program joined.
        """
        self.position = after
        self.is_behind = False  # a message was dropped
        self.is_caught_up = False  # further messages are live
        self._max_bytes = max_bytes
        self._bytes = 0
        self._unread: deque[tuple[Message, int]] = deque()
        self._news = asyncio.Event()
        self._seen: dict[str, None] = {}
        self._after = after
        self._skips = not with_history and after is None
        self._gap: Gap | None = None  # reported, unless the next message shows that nothing is missing
        self._end: ChatError | None = None
        self._is_closed = False

    @property
    def after(self) -> str | None:
        """The id after which the server should continue; None if all messages are new."""
        return self._after

    def begin(self) -> None:
        """Start a new connection, which first receives earlier messages."""
        self.is_behind = self.is_caught_up = False
        self._gap = None

    def put(self, message: Received, size: int, *, is_answer: bool = False) -> None:
        """Add a received message, if it is new and fits.

        Args:
            size: of its frame.
            is_answer: it may be the echo of a resent message, which may be older than those received before.
        """
        if isinstance(message, UncompliantMessage) and message.reason in (MISSED, CUT_OFF):
            self._miss(Gap(reason=message.reason), is_certain=message.reason == CUT_OFF)
            return
        if isinstance(message, LivePositionMessage):  # repeats its id at its end, and is replaced by the next one
            if self._fits(size):
                self._append(message, size)
            return
        is_live, is_public = self.is_caught_up, not isinstance(message, PRIVATE)
        if isinstance(message, NbUsersMessage):
            self._catch_up()
        if message.id in self._seen:
            self._gap = None  # after MISSED follows a known message, so nothing is missing in between
        elif self._skips and not is_live:
            self._see(message.id)
        else:
            if is_public:
                self._tell_gap()
            if not self._fits(size):
                self.is_behind = True
                return
            self._append(message, size)
            self._see(message.id)
        if is_public and not is_answer and not self.is_behind:
            self._after = message.id

    def _catch_up(self) -> None:
        """Handle the first user count of a connection, which follows all earlier messages."""
        if not self.is_caught_up:
            self.is_caught_up = True
            self._tell_gap()
            self._skips = False
            self._after = self._after or NOBODY

    def _miss(self, gap: Gap, *, is_certain: bool) -> None:
        self._gap = gap
        if is_certain or self.is_caught_up:
            self._tell_gap()

    def _tell_gap(self) -> None:
        # A program that reads nothing needs only one.
        if self._gap is not None and not (self._unread and isinstance(self._unread[-1][0], Gap)):
            self._append(self._gap, 0)
        self._gap = None

    def _fits(self, size: int) -> bool:
        return not self.is_behind and (not self._unread or self._bytes + size + OVERHEAD <= self._max_bytes)

    def _append(self, message: Message, size: int) -> None:
        self._unread.append((message, size + OVERHEAD))
        self._bytes += size + OVERHEAD
        self._news.set()

    def _see(self, id: str) -> None:
        self._seen[id] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    @property
    def is_drained(self) -> bool:
        """Whether all messages are read, and the server has more."""
        return self.is_behind and not self._unread

    async def get(self) -> Message:
        """Wait for the next message, and remove it.

        Raises:
            StopAsyncIteration: the program has closed the chat.
            Refused: the server has ended the chat.
        """
        while not self._unread:
            if self._end is not None:
                raise self._end
            if self._is_closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        message, size = self._unread.popleft()
        self._bytes -= size
        if not isinstance(message, (Gap, *PRIVATE)):
            self.position = message.id
        return message

    def end(self, error: ChatError | None) -> None:
        """End the inbox after its unread messages; `error` is None if the program closes the chat."""
        self._end, self._is_closed = error, True
        self._news.set()
