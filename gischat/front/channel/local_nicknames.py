"""The registered nicknames of this front's connections in a channel, and what Redis believes of them."""

from collections.abc import Callable, Mapping

from gischat.broker.entries import Outcome, Publication
from gischat.front.channel.join_buffer import Member
from gischat.front.dispatch.dispatcher import Dispatcher


class LocalNicknames:
    """Finds connections by their addresses, and sees to it that who has a nickname knows it, and is here."""

    def __init__(
        self,
        channel: str,
        connections: Mapping[int, Member],
        dispatcher: Dispatcher,
        has_seen: Callable[[bytes], bool],
    ) -> None:
        """
        Args:
            has_seen: whether a message of an id was delivered lately.
        """
        self._channel = channel
        self._connections = connections
        self._dispatcher = dispatcher
        self._has_seen = has_seen

    def member_of(self, address: str) -> Member | None:
        """The connection at an address (`front/number`), if it is here."""
        number = self._local_id(address)
        return None if number is None else self._connections.get(number)

    def settle(self, publication: Publication) -> None:
        """Called for each publication, with the ends of jobs.

        A newcomer may be done twice, the second time when its connection has gone, which nobody would ever say again.
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
        """Has each ask again for the nickname that it waits for: what was not heard may have granted it."""
        for member in self._connections.values():
            member.retry_nickname()

    def restore(self, in_doubt: bytes = b"") -> None:
        """Has each tell Redis again which nickname it has; of the addresses in doubt, those that are gone are said to
        be."""
        for member in self._connections.values():
            member.restore_nickname()
        for address in in_doubt.decode().split():
            self.leave_if_gone(address)

    def leave_if_gone(self, address: str) -> None:
        """Tells that a connection is gone which Redis believes to be here."""
        number = self._local_id(address)
        if number is not None and number not in self._connections and not self._dispatcher.is_open(number):
            self._dispatcher.leave(self._channel, number)

    def _local_id(self, address: str) -> int | None:
        """The number of a connection of this front."""
        front, _, number = address.partition("/")
        return int(number) if front == self._dispatcher.front else None
