"""Who has a nickname that somebody else wants is asked whether it is still there; if it is not, the other one gets it.

A phone that leaves its Wi-Fi and a laptop that falls asleep say no goodbye. Their users come back and find their own
nickname taken by their own ghost. Pings find that out, but only after a minute: a QGIS that computes answers that late.
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
    """Somebody of the network `client` wants the nickname of the connection at an address (`front/number`)."""

    connection: str
    client: str


class Challenges:
    """Those that are under way on this front."""

    def __init__(self, rooms: Mapping[str, Room], timings: Timings = Timings()) -> None:
        self._timings = timings
        self._asking: set[asyncio.Task[None]] = set()  # else nothing would hold them
        self._under_way: set[tuple[Member, bool]] = set()  # who is asked, and whether by the own address
        for room in rooms.values():
            room.control_handlers[CHALLENGE] = partial(self._begin, room)

    def _begin(self, room: Room, body: bytes) -> None:
        challenge = msgspec.json.decode(body, type=Challenge)
        member = room.nicknames.member_of(challenge.connection)
        if member is None:  # a Redis that has lost something may have brought it back
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
        """Sleeps, and if that was too long, for a moment more, in which is read what has come meanwhile."""
        while not await sleeps_on_time(seconds, self._timings.late):
            seconds = self._timings.late
