"""The registered nicknames of this front's connections in a channel, kept consistent with Redis."""

from collections.abc import Callable, Mapping

from gischat.broker.entries import Outcome, Publication
from gischat.front.channel.join_buffer import Member
from gischat.front.dispatch.dispatcher import Dispatcher


class LocalNicknames:
    """Finds connections by their id; grants nicknames to them, and releases those of connections that are gone."""

    def __init__(
        self,
        channel: str,
        connections: Mapping[int, Member],
        dispatcher: Dispatcher,
        has_seen: Callable[[bytes], bool],
    ) -> None:
        """
        Args:
            has_seen: whether a message with that id was delivered recently.
        """
        self._channel = channel
        self._connections = connections
        self._dispatcher = dispatcher
        self._has_seen = has_seen

    def member_of(self, address: str) -> Member | None:
        """The connection with that id (`front/number`), if it is on this front."""
        number = self._local_id(address)
        return None if number is None else self._connections.get(number)

    def settle(self, publication: Publication) -> None:
        """Apply a publication to the nicknames: grant, or release if the connection is gone.

        A newcomer may be processed a second time after its connection has left; nothing else would release it then.
        """
        source = publication.source
        if publication.outcome is Outcome.GRANTED:
            member = self.member_of(publication.to)
            if member is None:
                self.leave_if_gone(publication.to)
            elif not self._has_seen(publication.id):
                member.grant_nickname(publication.body)
        elif publication.type == "newcomer" and publication.outcome is Outcome.PUBLISHED and source is not None:
            self.leave_if_gone(source.connection_id)

    def retry(self) -> None:
        """Let all connections retry their nickname requests, since a missed publication may have granted one."""
        for member in self._connections.values():
            member.retry_nickname()

    def restore(self, in_doubt: bytes = b"") -> None:
        """Restore all connections' nicknames in Redis; of those in doubt, release the ones whose connection is gone."""
        for member in self._connections.values():
            member.restore_nickname()
        for address in in_doubt.decode().split():
            self.leave_if_gone(address)

    def leave_if_gone(self, address: str) -> None:
        """Release the nickname of a connection that Redis believes to be here, if it is gone."""
        number = self._local_id(address)
        if number is not None and number not in self._connections and not self._dispatcher.is_open(number):
            self._dispatcher.leave(self._channel, number)

    def _local_id(self, address: str) -> int | None:
        """The number of a connection of this front; None for other fronts'."""
        front, _, number = address.partition("/")
        return int(number) if front == self._dispatcher.front else None
