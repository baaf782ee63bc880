"""Who has a nickname that somebody else wants: asked at once, given fitting time, never closed for it."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gischat.broker.entries import CHALLENGE
from gischat.front.channel.nickname_challenge import Challenge, Challenges
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, FRONT
from tests.support.virtual_time import freeze, pass_time, settle, virtual_time

OWN_SECONDS, OTHER_SECONDS = Timings().challenge_own, Timings().challenge_other
OWN, OTHER = "192.0.2.7", "198.51.100.1"


class Holder:
    """A connection that has a nickname."""

    address = OWN
    nickname = "jane"
    answers = False
    is_peer_unreachable = False

    def __init__(self) -> None:
        self.pings = 0
        self.yields = 0

    def ping(self) -> None:
        self.pings += 1

    def pong_overdue(self, seconds: float) -> bool:
        return not self.answers

    def yield_nickname(self) -> None:
        self.yields += 1


class Scene:
    def __init__(self) -> None:
        self.holder = Holder()
        found = {f"{FRONT}/1": self.holder}
        self.gone: list[str] = []  # connections of which was told that they are, if they were this front's
        nicknames = SimpleNamespace(member_of=found.get, leave_if_gone=self.gone.append)
        self.room: Any = SimpleNamespace(control_handlers={}, nicknames=nicknames)
        Challenges({CHANNEL: self.room})

    def challenge(self, client: str, connection: str = f"{FRONT}/1") -> None:
        self.room.control_handlers[CHALLENGE](msgspec.json.encode(Challenge(connection, client)))


@virtual_time
async def test_a_silent_holder_gives_way_to_one_of_its_own_address_soon() -> None:
    scene = Scene()
    scene.challenge(OWN)
    assert scene.holder.pings == 1
    await pass_time(OWN_SECONDS - 0.1)
    assert scene.holder.yields == 0
    await pass_time(0.2)
    assert scene.holder.yields == 1


@virtual_time
async def test_a_holder_that_answers_keeps_its_nickname() -> None:
    scene = Scene()
    for client in (OWN, OTHER):
        scene.challenge(client)
        scene.holder.answers = True
        await pass_time(OTHER_SECONDS + 1)
    assert (scene.holder.pings, scene.holder.yields) == (2, 0)


@virtual_time
async def test_a_qgis_that_computes_has_longer_before_a_stranger_gets_its_nickname() -> None:
    scene = Scene()
    scene.challenge(OTHER)
    await pass_time(OTHER_SECONDS - 1)
    assert scene.holder.yields == 0
    await pass_time(2)
    assert scene.holder.yields == 1


@virtual_time
async def test_one_whose_system_does_not_answer_either_has_no_longer_than_its_own_ghost() -> None:
    scene = Scene()
    scene.holder.is_peer_unreachable = True
    scene.challenge(OTHER)
    await pass_time(OWN_SECONDS + 0.1)
    assert scene.holder.yields == 1


@pytest.mark.parametrize("client", [OWN, OTHER])
@virtual_time
async def test_an_answer_that_came_while_we_were_frozen_is_in_time(client: str) -> None:
    scene = Scene()
    scene.challenge(client)
    await pass_time(1)
    freeze(2 * OTHER_SECONDS)
    await settle()
    scene.holder.answers = True
    await pass_time(OTHER_SECONDS + 1)
    assert scene.holder.yields == 0


@virtual_time
async def test_a_holder_is_asked_once_at_a_time() -> None:
    scene = Scene()
    for _ in range(5):
        scene.challenge(OTHER)
    assert scene.holder.pings == 1
    await pass_time(OTHER_SECONDS + 1)
    scene.challenge(OTHER)
    assert scene.holder.pings == 2


@virtual_time
async def test_a_nickname_that_was_given_up_meanwhile_is_not_given_up_again() -> None:
    scene = Scene()
    scene.challenge(OWN)
    scene.holder.nickname = "joan"
    await pass_time(OTHER_SECONDS + 1)
    assert scene.holder.yields == 0


@pytest.mark.parametrize("connection", [f"{FRONT}/2", "front-2/1"])
@virtual_time
async def test_who_is_not_here_is_not_asked(connection: str) -> None:
    scene = Scene()
    scene.challenge(OWN, connection)
    assert scene.holder.pings == 0
    assert scene.gone == [connection], "a ghost of this front holds a nickname for ever"
