"""A front's moderation service: it reads a channel's restrictions when they may have changed, and executes orders."""

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gischat.broker.access_keys import access_key, new_secret
from gischat.broker.entries import Outcome, Publication
from gischat.broker.moderation import Ban, ModerationState
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable
from gischat.front.auth import access_keys
from gischat.front.auth.channel_auth import ChannelAuth
from gischat.front.channel.room import Room
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.moderation.service import ModerationService
from gischat.timings import Timings
from tests.gischat.front.fakes import CHANNEL, FakeBroker, FakeMember
from tests.support.settings import settings
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("io_loop")


class ModerationGateway(FakeBroker):
    """A Redis that returns the channel's restrictions, or an error, when the test decides."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = ModerationState()
        self.faults: list[Exception] = []
        self.reads = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.restored: list[ModerationState] = []

    async def moderation_state(self, channel: str) -> ModerationState:
        self.reads += 1
        found = self.stored
        await self.may_answer.wait()
        if self.faults:
            raise self.faults.pop(0)
        return found

    async def restore_moderation(self, channel: str, known: ModerationState) -> bool:
        self.restored.append(known)
        return True


@dataclass(eq=False)
class Member(FakeMember):
    nickname: str | None = None
    address: str = "203.0.113.7"
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self, code: int, reason: str, told: str = "") -> None:
        super().close(code, reason, told)
        self.closed.set()


class Scene:
    def __init__(self) -> None:
        self.broker: Any = ModerationGateway()
        self.dispatcher = Dispatcher(self.broker, settings())
        self.room = Room(CHANNEL, self.broker, self.dispatcher)
        moderated = settings(channels=(CHANNEL,), admin_token="0123456789abcdef")
        self.moderation = ModerationService(
            moderated,
            self.broker,
            {CHANNEL: self.room},
            self.dispatcher,
            ChannelAuth(moderated),
            Timings(retry=0.0, key_check=0.0),
        )
        self.published = 0

    def enter(self, **member: Any) -> Member:
        one = Member(len(self.room.connections) + 1, **member)
        self.room.connections[one.id] = one
        return one

    def order(self, kind: str, body: Any) -> None:
        self.published += 1
        encoded = msgspec.json.encode(body)
        self.room.deliver([Publication(self.published, None, Outcome.CONTROL, "", kind, b"", encoded)])


@pytest.fixture
def scene(io_loop: Any) -> Scene:
    async def made() -> Scene:
        return Scene()

    found: Scene = io_loop.run_sync(made)
    return found


def ban(subject: str, kind: str = "nickname") -> Ban:
    return Ban(kind, subject, int(time.time()), int(time.time()) + 60, "anna", "", True)


async def test_an_order_during_a_read_causes_another_read(scene: Scene) -> None:
    scene.broker.may_answer.clear()
    for version in (1, 2, 3):
        scene.broker.stored = ModerationState(version, None, (ban(f"pest-{version}"),))
        scene.order("moderation", version)
        await asyncio.sleep(0)
    scene.broker.may_answer.set()
    await until(lambda: scene.room.bans.ban_reason("pest-3") is not None)
    # One read for the first order, and one for all that arrived meanwhile
    assert scene.broker.reads == 2
    # An order right afterwards is not lost
    scene.broker.stored = ModerationState(4)
    scene.order("moderation", 4)
    await until(lambda: scene.room.bans.ban_reason("pest-3") is None)


@pytest.mark.parametrize("fault", [Unavailable("Redis is away."), RedisError("BUSY")])
async def test_a_failed_read_is_retried(scene: Scene, fault: Exception) -> None:
    scene.broker.faults = [fault, fault]
    scene.broker.stored = ModerationState(1, None, (ban("pest"),))
    scene.order("moderation", 1)
    await until(lambda: scene.room.bans.ban_reason("pest") is not None)
    assert scene.broker.reads == 3


async def test_restrictions_that_are_not_lost_are_not_restored(scene: Scene) -> None:
    """A front that was frozen and considered dead does not have the newest ones."""
    scene.broker.stored = ModerationState(5, None, (ban("pest"),))
    await scene.moderation.load()
    scene.broker.stored = ModerationState(6)
    scene.moderation.restore_lost(scene.room)
    await until(lambda: scene.room.bans.ban_reason("pest") is None)
    assert scene.broker.restored == []


async def test_connections_with_an_expired_key_are_closed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access_keys, "time", SimpleNamespace(time=lambda: now))
    keys = [access_key(new_secret(), since=0, until=until, by="", note="") for until in (1060, 1061)]
    scene.broker.stored = ModerationState(1, keys=tuple(keys))
    await scene.moderation.load()
    jane, john = scene.enter(access_key=keys[0]), scene.enter(access_key=keys[1])
    now = 1060.0
    await jane.closed.wait()
    assert john.closed_with == []
    now = 1061.0
    await john.closed.wait()


@pytest.mark.parametrize(("kind", "body"), [("dance", {}), ("disconnect", []), ("deleted", {"ids": 1})])
async def test_an_unknown_order_is_ignored(
    scene: Scene, kind: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A newer version that shares our Redis may send one."""
    jane = scene.enter(nickname="jane")
    scene.order(kind, body)
    assert "a control message could not be handled" in caplog.text
    scene.order("disconnect", {"nickname": "jane", "reason": "Bye."})
    assert jane.closed_with == [(1008, "Bye.")]
    assert jane.told == ["Bye. To come back, disconnect and connect again."]
    assert jane.written == []
