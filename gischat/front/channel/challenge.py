"""Who has a nickname that somebody else wants is asked whether it is still there; if it is not, the other one gets it.

A phone that leaves its Wi-Fi and a laptop that falls asleep say no goodbye. Their users come back and find their own
nickname taken by their own ghost. Pings find that out, but only after a minute: a QGIS that computes answers that late.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec

from gischat.front.channel.joiner import Member
from gischat.front.channel.rooms import Room
from gischat.front.door.addresses import counted_as
from gischat.timings import Timings


class Challenge(msgspec.Struct, frozen=True):
    """Somebody of the network `client` wants the nickname of the connection at an address (`front/number`)."""

    connection: str
    client: str


class Challenges:
    """Those that are under way on this front."""

    def __init__(self, rooms: Mapping[str, Room], timings: Timings = Timings()) -> None:
        self._own_seconds = timings.challenge_own
        self._other_seconds = timings.challenge_other
        self._under_way: set[tuple[Member, bool]] = set()  # who is asked, and whether by the own address
        for room in rooms.values():
            room.challenged = partial(self._begin, room)

    def _begin(self, room: Room, body: bytes) -> None:
        challenge = msgspec.json.decode(body, type=Challenge)
        member = room.member_at(challenge.connection)
        if member is None:
            return
        is_own = counted_as(member.address) == challenge.client
        if (member, is_own) in self._under_way:
            return
        self._under_way.add((member, is_own))
        nickname = member.nickname
        member.ping()
        loop = asyncio.get_running_loop()

        def look(seconds: float, *, is_last: bool) -> None:
            if member.is_silent(seconds) and member.nickname == nickname:
                if not (is_own or is_last or member.is_unreachable):
                    loop.call_later(self._other_seconds - seconds, partial(look, self._other_seconds, is_last=True))
                    return
                member.yield_nickname()
            self._under_way.discard((member, is_own))

        loop.call_later(self._own_seconds, partial(look, self._own_seconds, is_last=False))
