"""Nickname challenge: pings the holder of a nickname that another client requests; a dead holder loses it.

A phone that leaves its Wi-Fi and a laptop that is suspended do not close their connections. When their users return,
their own dead connections hold their nicknames. The keepalive notices that only after a minute, since a QGIS that
computes answers that late.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec

from gischat.broker.entries import CHALLENGE
from gischat.front.auth.client_address import address_key
from gischat.front.channel.join_buffer import Member
from gischat.front.channel.room import Room
from gischat.lateness import sleeps_on_time
from gischat.timings import Timings


class Challenge(msgspec.Struct, frozen=True):
    """A client of the network `client` requests the nickname of the connection with that id (`front/number`)."""

    connection: str
    client: str


class Challenges:
    """The challenges in progress on this front."""

    def __init__(self, rooms: Mapping[str, Room], timings: Timings = Timings()) -> None:
        self._timings = timings
        self._asking: set[asyncio.Task[None]] = set()  # keeps the tasks alive
        self._under_way: set[tuple[Member, bool]] = set()  # (holder, whether the request is from its own address)
        for room in rooms.values():
            room.control_handlers[CHALLENGE] = partial(self._begin, room)

    def _begin(self, room: Room, body: bytes) -> None:
        challenge = msgspec.json.decode(body, type=Challenge)
        member = room.nicknames.member_of(challenge.connection)
        if member is None:  # gone; a loss in Redis may have restored its nickname
            room.nicknames.leave_if_gone(challenge.connection)
            return
        is_own = address_key(member.address) == challenge.client
        if (member, is_own) in self._under_way:
            return
        self._under_way.add((member, is_own))
        member.ping()
        task = asyncio.create_task(self._await_answer(member, member.nickname, is_own))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _await_answer(self, member: Member, nickname: str | None, is_own: bool) -> None:
        seconds, at_most = self._timings.challenge_own, self._timings.challenge_other
        try:
            await self._sleep(seconds)
            if member.pong_overdue(seconds) and not (is_own or member.is_peer_unreachable):
                await self._sleep(at_most - seconds)
                seconds = at_most
            if member.pong_overdue(seconds) and member.nickname == nickname:
                member.yield_nickname()
        finally:
            self._under_way.discard((member, is_own))

    async def _sleep(self, seconds: float) -> None:
        """Sleep; after a late wake-up sleep a little more, so that data that arrived meanwhile is read."""
        while not await sleeps_on_time(seconds, self._timings.late):
            seconds = self._timings.late
