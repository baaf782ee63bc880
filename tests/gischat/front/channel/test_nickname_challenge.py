"""Holders of wanted nicknames: they are pinged at once, have time to answer, and are never closed for it."""

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
    """A connection with a nickname."""

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
        self.gone: list[str] = []  # connections whose nicknames were released
        nicknames = SimpleNamespace(member_of=found.get, leave_if_gone=self.gone.append)
        self.room: Any = SimpleNamespace(control_handlers={}, nicknames=nicknames)
        Challenges({CHANNEL: self.room})

    def challenge(self, client: str, connection: str = f"{FRONT}/1") -> None:
        self.room.control_handlers[CHALLENGE](msgspec.json.encode(Challenge(connection, client)))


@pytest.mark.parametrize(
    ("client", "is_peer_unreachable", "seconds"),
    [(OWN, False, OWN_SECONDS), (OTHER, False, OTHER_SECONDS), (OTHER, True, OWN_SECONDS)],
    ids=["own address", "a busy QGIS", "a machine that does not answer"],
)
@virtual_time
async def test_a_silent_holder_loses_its_nickname(client: str, is_peer_unreachable: bool, seconds: float) -> None:
    scene = Scene()
    scene.holder.is_peer_unreachable = is_peer_unreachable
    # When it is challenged again and again
    for _ in range(5):
        scene.challenge(client)
    assert scene.holder.pings == 1
    # Then it has that time to answer
    await pass_time(seconds - 0.1)
    assert scene.holder.yields == 0
    await pass_time(1)
    assert scene.holder.yields == 1
    # And the next challenge is another one
    scene.challenge(client)
    assert scene.holder.pings == 2


@pytest.mark.parametrize("client", [OWN, OTHER])
@virtual_time
async def test_an_answer_received_while_the_front_was_frozen_counts(client: str) -> None:
    scene = Scene()
    scene.challenge(client)
    await pass_time(1)
    freeze(2 * OTHER_SECONDS)
    await settle()
    scene.holder.answers = True
    await pass_time(OTHER_SECONDS + 1)
    assert scene.holder.yields == 0


@virtual_time
async def test_a_nickname_released_meanwhile_is_not_released_again() -> None:
    scene = Scene()
    scene.challenge(OWN)
    scene.holder.nickname = "joan"
    await pass_time(OTHER_SECONDS + 1)
    assert scene.holder.yields == 0


@pytest.mark.parametrize("connection", [f"{FRONT}/2", "front-2/1"])
@virtual_time
async def test_connections_of_other_fronts_are_not_challenged(connection: str) -> None:
    scene = Scene()
    scene.challenge(OWN, connection)
    assert scene.holder.pings == 0
    assert scene.gone == [connection], "a ghost of this front holds a nickname for ever"
