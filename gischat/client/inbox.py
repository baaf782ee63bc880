"""What has come and was not read yet: each message once, in order, and not more than fits into its memory.

What does not fit is left to the server, which keeps it for a while: when all else is read, the client comes back with
`?after=` and gets it.
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

# How the server says that something is missing
MISSED = "What you missed is no longer kept: some messages may be missing. The last ones follow."
CUT_OFF = "The server was cut off for a moment: some messages may be missing."

NOBODY = "00000000-0000-0000-0000-000000000000"  # an id that no message has
REMEMBERED = 10_000  # ids of messages that came, some megabytes
OVERHEAD = 500  # bytes of a message in memory besides its text


class Inbox:
    """A queue of received messages with one end for the connection, one for the program.

    `position` is the id of the last message that the program has read, of those that everyone got.
    """

    def __init__(self, max_bytes: int, after: str | None, *, with_history: bool) -> None:
        """
        Args:
            max_bytes: of unread messages, about; one is always taken.
            after: the id of the last message that the program has from before.
            with_history: what was said before the program came is for it, too.
        """
        self.position = after
        self.is_behind = False  # something has not been taken
        self.is_caught_up = False  # what comes from now on is live
        self._max_bytes = max_bytes
        self._bytes = 0
        self._unread: deque[tuple[Message, int]] = deque()
        self._news = asyncio.Event()
        self._seen: dict[str, None] = {}
        self._after = after
        self._skips = not with_history and after is None
        self._gap: Gap | None = None  # said, unless what follows shows that nothing is missing
        self._end: ChatError | None = None
        self._is_closed = False

    @property
    def after(self) -> str | None:
        """The message after which the server shall go on; None where all is new."""
        return self._after

    def begin(self) -> None:
        """A new connection: what comes first was said before."""
        self.is_behind = self.is_caught_up = False
        self._gap = None

    def put(self, message: Received, size: int, *, is_answer: bool = False) -> None:
        """Takes what has come on the connection, if it is new and fits.

        Args:
            size: of its frame.
            is_answer: it may answer a message that was sent again, and then be older than others that came.
        """
        if isinstance(message, UncompliantMessage) and message.reason in (MISSED, CUT_OFF):
            self._miss(Gap(reason=message.reason), is_certain=message.reason == CUT_OFF)
            return
        if isinstance(
            message, LivePositionMessage
        ):  # its end bears its id; the next takes its place if it does not fit
            if self._fits(size):
                self._append(message, size)
            return
        is_live, is_public = self.is_caught_up, not isinstance(message, PRIVATE)
        if isinstance(message, NbUsersMessage):
            self._catch_up()
        if message.id in self._seen:
            self._gap = None  # what follows MISSED begins with something that we have: nothing is between
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
        """The first count on a connection comes after all that was said before."""
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
        # One is enough for a program that reads nothing.
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
        """Whether all that has been taken is read, and there is more at the server."""
        return self.is_behind and not self._unread

    async def get(self) -> Message:
        """The next message.

        Raises:
            StopAsyncIteration: the program has closed the chat.
            Refused: the server has ended it.
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
        """Nothing more comes; None when the program wishes so."""
        self._end, self._is_closed = error, True
        self._news.set()
