"""Moderation inside Redis, with a real Valkey: each request is atomic, and leaves no data behind."""

import time
from typing import Any

import msgspec
import pytest

from gischat.broker import scripts
from gischat.broker.access_keys import AccessKey, access_key, new_secret
from gischat.broker.entries import PASSES_FREEZE, Outcome
from gischat.broker.inbox import EnqueueStatus
from gischat.broker.moderation import Ban, Freeze, Moderation, ModerationResult, ModerationState
from gischat.protocol.messages import new_id
from gischat.timings import Timings
from tests.gischat.broker.wire import CHANNEL, DEAD, Start, Wire, assert_meters_are_right, encoded
from worker.effects import Publish

pytestmark = pytest.mark.usefixtures("io_loop")

FREEZE = Freeze(1_700_000_000, "anna")
CHANGED, UNCHANGED, LOST = ModerationResult.CHANGED, ModerationResult.UNCHANGED, ModerationResult.STATE_LOST


def ban(subject: str = "jane", *, seconds: int = 60) -> Ban:
    now = int(time.time())
    return Ban("nickname", subject, now, now + seconds, "anna", "Été: \"{'}\\", True)


def key(*, seconds: int = 60) -> AccessKey:
    now = int(time.time())
    return access_key(new_secret(), since=now, until=now + seconds, by="anna", note="Été: \"{'}\\")


async def say(wire: Wire, number: int = 1) -> list[str]:
    """Publish and store `number` texts; returns their ids."""
    ids = [new_id() for _ in range(number)]
    for id in ids:
        await wire.end(Publish(encoded("text", id=id)), id=id)
    return ids


async def history(wire: Wire) -> list[str]:
    """The ids of stored messages, whose bytes are counted."""
    stored = await wire.history()
    assert await wire.meter("history_bytes") == sum(map(len, stored))
    return [msgspec.json.decode(body)["id"] for body in stored]


async def since(wire: Wire, id: str) -> list[str]:
    publications = [entry.publication for entry in await wire.front.history.retained(CHANNEL, 10**9, 2**20)]
    ids = [one.id.decode() for one in publications]
    return [one.id.decode() for one in publications[ids.index(id) + 1 :] if one.is_broadcast and one.body]


async def orders(wire: Wire) -> list[tuple[str, Any]]:
    """The orders published since the last call; none of them is sent to clients."""
    found = [one for one in await wire.news() if one.outcome is Outcome.CONTROL]
    assert not any(one.is_broadcast or one.to or one.source for one in found)
    return [(one.type, msgspec.json.decode(one.body)) for one in found]


@pytest.fixture
def moderation(wire: Wire) -> Moderation:
    return wire.front.moderation


# Deleting


async def test_a_deleted_message_leaves_the_history_and_every_front_is_notified(
    wire: Wire, moderation: Moderation
) -> None:
    ids = await say(wire, 7)  # two of which the history has not any more
    assert await moderation.delete_messages(CHANNEL, [ids[1], ids[4]]) == 2
    assert await history(wire) == [*ids[2:4], *ids[5:]]
    # And no client that reconnects receives it
    assert await since(wire, ids[0]) == [*ids[2:4], *ids[5:]]
    ((type_, order),) = await orders(wire)
    assert (type_, order["all"], set(order["ids"])) == ("deleted", False, {ids[1], ids[4]})
    # A second deletion finds nothing
    assert await moderation.delete_messages(CHANNEL, [ids[4]]) == 0
    assert await orders(wire) == []
    # The outbox has no gap
    numbers = [one.offset for one in await wire.outbox()]
    assert numbers == list(range(1, len(numbers) + 1))
    await assert_meters_are_right(wire)


async def test_deleting_all_deletes_all_earlier_messages(wire: Wire, moderation: Moderation) -> None:
    before = await say(wire, 7)
    assert await moderation.delete_messages(CHANNEL, []) == 5
    assert await orders(wire) == [("deleted", {"all": True, "ids": before[2:]})]
    after = await say(wire, 2)
    assert await history(wire) == await since(wire, before[0]) == after
    # In an empty channel, nothing is deleted
    await moderation.delete_messages(CHANNEL, [])
    await orders(wire)
    assert await moderation.delete_messages(CHANNEL, []) == 0
    assert await orders(wire) == [("deleted", {"all": True, "ids": []})]
    assert await history(wire) == []


async def test_the_number_of_deleted_ids_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_NUMBER", 3)
    wire = start()
    for id in await say(wire, 5):
        await wire.front.moderation.delete_messages(CHANNEL, [id])
    deleted = wire.key("deleted")
    assert await wire.redis.call("ZCARD", deleted, key=deleted) == 3
    assert 0 < await wire.redis.call("PTTL", deleted, key=deleted) <= Timings().ids * 1000


async def test_a_replayed_deletion_deletes_a_message_that_is_back(wire: Wire, moderation: Moderation) -> None:
    """Redis has lost the deletion."""
    ids = await say(wire, 3)
    assert await moderation.delete_messages(CHANNEL, [ids[0], new_id()], again=True) == 1
    assert await history(wire) == ids[1:]
    await orders(wire)
    # If no message is back, nothing is published
    assert await moderation.delete_messages(CHANNEL, [ids[0], new_id()], again=True) == 0
    assert await orders(wire) == []


# Restrictions


async def test_a_channels_restrictions_are_returned_as_set(wire: Wire, moderation: Moderation) -> None:
    bans = [ban("jane"), ban("John")]
    assert [await moderation.ban(CHANNEL, number, one) for number, one in enumerate(bans)] == [CHANGED] * 2
    assert await moderation.freeze(CHANNEL, 2, FREEZE) is CHANGED
    told = await moderation.moderation_state(CHANNEL)
    assert (told.version, told.freeze, set(told.bans)) == (3, FREEZE, set(bans))
    # And fronts are notified of each change, and of nothing that changes nothing
    assert await moderation.unban(CHANNEL, 3, "nobody") is UNCHANGED
    assert await moderation.freeze(CHANNEL, 3, Freeze(1, "otto")) is UNCHANGED
    assert await orders(wire) == [("moderation", number) for number in (1, 2, 3)]
    assert await moderation.unban(CHANNEL, 3, bans[0].id) is CHANGED
    assert [await moderation.freeze(CHANNEL, 4, None) for _ in range(2)] == [CHANGED, UNCHANGED]
    # And a ban replaces an earlier one of the same subject
    later = ban("john", seconds=10)
    await moderation.ban(CHANNEL, 5, later)
    assert await moderation.moderation_state(CHANNEL) == ModerationState(6, None, (later,))


async def test_bans_are_bounded_and_expired_ones_leave_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "BANS_NUMBER", 2)
    wire = start()
    moderation, bans = wire.front.moderation, wire.key("bans")
    assert await moderation.ban(CHANNEL, 0, ban("over", seconds=-1)) is CHANGED
    tried = [ban("jane", seconds=100), ban("john"), ban("joan")]
    assert [await moderation.ban(CHANNEL, 0, one) for one in tried] == [CHANGED, CHANGED, UNCHANGED]
    # An existing one can be changed
    assert await moderation.ban(CHANNEL, 0, ban("john", seconds=5)) is CHANGED
    assert {one.subject for one in (await moderation.moderation_state(CHANNEL)).bans} == {"jane", "john"}
    # The key expires with the last of them
    assert await wire.redis.call("HLEN", bans, key=bans) == 2
    assert 90_000 < await wire.redis.call("PTTL", bans, key=bans) <= 100_000


async def test_keys_are_bounded_granted_and_revoked_and_every_front_is_notified(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "ACCESS_KEYS_NUMBER", 2)
    wire, keys = start(), [key(), key(), key()]
    moderation = wire.front.moderation
    assert [await moderation.grant_key(CHANNEL, 0, one) for one in keys] == [CHANGED, CHANGED, UNCHANGED]
    assert set((await moderation.moderation_state(CHANNEL)).keys) == set(keys[:2])
    assert await moderation.revoke_key(CHANNEL, 2, keys[0].id) is CHANGED
    assert await moderation.revoke_key(CHANNEL, 3, keys[0].id) is UNCHANGED
    assert (await moderation.moderation_state(CHANNEL)).keys == (keys[1],)
    assert await orders(wire) == [("moderation", 1), ("moderation", 2), ("moderation", 3)]


async def test_nothing_is_changed_before_lost_restrictions_are_restored(wire: Wire, moderation: Moderation) -> None:
    # Given a front that knows of more changes than Redis
    for act in (
        moderation.ban(CHANNEL, 1, ban()),
        moderation.unban(CHANNEL, 1, "jane"),
        moderation.freeze(CHANNEL, 1, FREEZE),
        moderation.grant_key(CHANNEL, 1, key()),
        moderation.revoke_key(CHANNEL, 1, "x"),
    ):
        assert await act is LOST
    assert await moderation.moderation_state(CHANNEL) == ModerationState()
    # When it restores them
    known = ModerationState(7, FREEZE, (ban("jane"), ban("over", seconds=-1)), (key(), key(seconds=-1), key()))
    assert await moderation.restore_moderation(CHANNEL, known)
    # Then they are valid, except for expired ones, and every front is notified
    left = ModerationState(7, FREEZE, known.bans[:1], known.keys[::2])
    assert await moderation.moderation_state(CHANNEL) == left
    assert await orders(wire) == [("moderation", 7)]
    assert await moderation.ban(CHANNEL, 7, ban("john")) is CHANGED
    # Of several restored states the newest is kept
    new = ModerationState(9, None, (ban("john"),))
    for told in (new, known):
        await moderation.restore_moderation(CHANNEL, told)
    assert await moderation.moderation_state(CHANNEL) == new


async def test_a_frozen_channel_accepts_nicknames_and_no_messages(wire: Wire, moderation: Moderation) -> None:
    async def enqueued(type_: str, *, connection: int = 1, again: bool = False) -> EnqueueStatus:
        return (await wire.offer(wire.job(type=type_, connection=connection), again=again)).status

    await wire.register("jane")
    await moderation.freeze(CHANNEL, 0, FREEZE)
    for type_ in ("text", "image", "geojson", "crs", "bbox", "position", "model", "script", "like", "count2", "e"):
        assert await enqueued(type_) is EnqueueStatus.FROZEN
    assert await wire.size("inbox:light") == 0
    for type_ in PASSES_FREEZE:
        assert await enqueued(type_) is EnqueueStatus.ENQUEUED
    # … but for an `exiter` of a connection without a nickname
    assert await enqueued("exiter", connection=2) is EnqueueStatus.FROZEN
    # Jobs enqueued before are not lost
    assert await enqueued("text", again=True) is EnqueueStatus.ENQUEUED
    await moderation.freeze(CHANNEL, 1, None)
    assert await enqueued("text") is EnqueueStatus.ENQUEUED
    await assert_meters_are_right(wire)


# Orders


async def test_only_a_registered_nickname_is_disconnected(wire: Wire, moderation: Moderation) -> None:
    await wire.register("jane")
    assert not await moderation.disconnect(CHANNEL, "john", b'{"nickname":"john"}')
    assert await moderation.disconnect(CHANNEL, "jane", b'{"nickname":"jane"}')
    assert await orders(wire) == [("disconnect", {"nickname": "jane"})]


async def test_a_survey_names_the_live_fronts(wire: Wire, moderation: Moderation) -> None:
    await wire.renew("front-2")
    await wire.renew("front-3", DEAD)
    assert sorted(await moderation.start_survey(CHANNEL, b'{"call":"c"}')) == ["front-1", "front-2"]
    assert await orders(wire) == [("survey", {"call": "c"})]
    await wire.new_front("front-2").moderation.answer_survey(CHANNEL, "c", b"here")
    assert await moderation.survey_answers(CHANNEL, "c", ["front-1", "front-2"]) == [None, b"here"]
    assert await moderation.survey_answers(CHANNEL, "d", ["front-2"]) == [None]
    assert await moderation.survey_answers(CHANNEL, "c", []) == []
