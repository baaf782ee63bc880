"""Moderation inside Redis, with a real Valkey: each request is atomic, and leaves no data behind."""

import time
from typing import Any

import msgspec
import pytest

from gischat.broker import scripts
from gischat.broker.access_keys import AccessKey, access_key, new_secret
from gischat.broker.entries import PASSES_FREEZE, Outcome
from gischat.broker.inbox import EnqueueStatus
from gischat.broker.moderation import Ban, Freeze, ModerationResult, ModerationState
from gischat.protocol.messages import Lane, new_id
from gischat.timings import Timings
from tests.gischat.broker.wire import ALIVE, CHANNEL, Start, Wire, assert_meters_are_right, encoded
from worker.effects import Publish

pytestmark = pytest.mark.usefixtures("io_loop")

FREEZE = Freeze(1_700_000_000, "anna")


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
        await wire.end(Publish(encoded("text", id=id)), type="text", id=id)
    return ids


async def history(wire: Wire) -> list[str]:
    return [msgspec.json.decode(body)["id"] for body in await wire.history()]


async def since(wire: Wire, id: str) -> list[str]:
    publications = [entry.publication for entry in await wire.front.history.retained(CHANNEL, 10**9, 2**20)]
    ids = [one.id.decode() for one in publications]
    return [one.id.decode() for one in publications[ids.index(id) + 1 :] if one.is_broadcast and one.body]


async def orders(wire: Wire) -> list[tuple[str, Any]]:
    """The orders published since the last call; none of them is sent to clients."""
    found = [one for one in await wire.news() if one.outcome is Outcome.CONTROL]
    assert not any(one.is_broadcast or one.to or one.source for one in found)
    return [(one.type, msgspec.json.decode(one.body)) for one in found]


# Deleting


async def test_a_deleted_message_leaves_the_history_and_every_front_is_notified(wire: Wire) -> None:
    ids = await say(wire, 5)
    await orders(wire)
    assert await wire.front.moderation.delete_messages(CHANNEL, [ids[2]]) == 1
    assert await history(wire) == [*ids[:2], *ids[3:]]
    assert await since(wire, ids[0]) == [ids[1], *ids[3:]]
    assert await orders(wire) == [("deleted", {"all": False, "ids": [ids[2]]})]
    # A second deletion finds nothing
    assert await wire.front.moderation.delete_messages(CHANNEL, [ids[2]]) == 0
    assert await orders(wire) == []


async def test_the_outbox_has_no_gap_after_a_deletion(wire: Wire) -> None:
    ids = await say(wire, 5)
    await wire.front.moderation.delete_messages(CHANNEL, [ids[1]])
    await wire.front.moderation.delete_messages(CHANNEL, [])
    numbers = [one.offset for one in await wire.outbox()]
    assert numbers == list(range(1, len(numbers) + 1))
    await assert_meters_are_right(wire)


async def test_a_deleted_message_outside_the_history_is_not_sent_to_clients_that_reconnect(start: Start) -> None:
    wire = start(max_stored_messages=1)
    ids = await say(wire, 4)
    assert await wire.front.moderation.delete_messages(CHANNEL, [ids[1]]) == 1
    assert await since(wire, ids[0]) == ids[2:]


async def test_deleting_all_deletes_all_earlier_messages(wire: Wire) -> None:
    before = await say(wire, 7)
    await orders(wire)
    assert await wire.front.moderation.delete_messages(CHANNEL, []) == 5
    assert await orders(wire) == [("deleted", {"all": True, "ids": before[2:]})]
    after = await say(wire, 2)
    assert await history(wire) == after
    assert await since(wire, before[0]) == after
    # In an empty channel, nothing is deleted
    await wire.front.moderation.delete_messages(CHANNEL, [])
    await orders(wire)
    assert await wire.front.moderation.delete_messages(CHANNEL, []) == 0
    assert await orders(wire) == [("deleted", {"all": True, "ids": []})]


async def test_deletions_are_subtracted_from_the_historys_bytes(wire: Wire) -> None:
    ids = await say(wire, 4)
    await wire.front.moderation.delete_messages(CHANNEL, ids[:2])
    assert await wire.meter("history_bytes") == sum(map(len, await wire.history())) > 0
    await wire.front.moderation.delete_messages(CHANNEL, [])
    assert await wire.meter("history_bytes") == 0


async def test_the_number_of_deleted_ids_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "IDS_NUMBER", 3)
    wire = start()
    for id in await say(wire, 5):
        await wire.front.moderation.delete_messages(CHANNEL, [id])
    key = next(key for key in wire.keys.for_moderation() if key.endswith(":deleted"))
    assert await wire.redis.call("ZCARD", key, key=key) == 3
    assert 0 < await wire.redis.call("PTTL", key, key=key) <= Timings().ids * 1000


async def test_a_replayed_deletion_deletes_a_message_that_is_back(wire: Wire) -> None:
    """Redis has lost the deletion."""
    ids = await say(wire, 3)
    assert await wire.front.moderation.delete_messages(CHANNEL, [ids[0], new_id()], again=True) == 1
    assert await history(wire) == ids[1:]
    await orders(wire)
    # If no message is back, nothing is published
    assert await wire.front.moderation.delete_messages(CHANNEL, [ids[0], new_id()], again=True) == 0
    assert await orders(wire) == []


# Restrictions


async def test_a_channels_restrictions_are_returned_as_set(wire: Wire) -> None:
    assert await wire.front.moderation.moderation_state(CHANNEL) == ModerationState()
    bans = [ban("jane"), ban("203.0.113.0/24")]
    for number, one in enumerate(bans):
        assert await wire.front.moderation.ban(CHANNEL, number, one) is ModerationResult.CHANGED
    assert await wire.front.moderation.freeze(CHANNEL, 2, FREEZE) is ModerationResult.CHANGED
    told = await wire.front.moderation.moderation_state(CHANNEL)
    assert (told.version, told.freeze) == (3, FREEZE)
    assert set(told.bans) == set(bans)
    # And fronts are notified of each change
    assert await orders(wire) == [("moderation", number) for number in (1, 2, 3)]
    assert await wire.front.moderation.unban(CHANNEL, 3, bans[0].id) is ModerationResult.CHANGED
    assert await wire.front.moderation.freeze(CHANNEL, 4, None) is ModerationResult.CHANGED
    assert await wire.front.moderation.moderation_state(CHANNEL) == ModerationState(5, None, (bans[1],))


async def test_a_request_that_changes_nothing_publishes_nothing(wire: Wire) -> None:
    assert await wire.front.moderation.unban(CHANNEL, 0, "nobody") is ModerationResult.UNCHANGED
    assert await wire.front.moderation.freeze(CHANNEL, 0, None) is ModerationResult.UNCHANGED
    await wire.front.moderation.freeze(CHANNEL, 0, FREEZE)
    await orders(wire)
    assert await wire.front.moderation.freeze(CHANNEL, 1, Freeze(1, "otto")) is ModerationResult.UNCHANGED
    assert await orders(wire) == []
    assert (await wire.front.moderation.moderation_state(CHANNEL)).freeze == FREEZE


async def test_a_ban_replaces_an_earlier_one(wire: Wire) -> None:
    await wire.front.moderation.ban(CHANNEL, 0, ban("Jane", seconds=600))
    later = ban("jane", seconds=10)
    await wire.front.moderation.ban(CHANNEL, 1, later)
    assert (await wire.front.moderation.moderation_state(CHANNEL)).bans == (later,)


async def test_bans_are_bounded_and_expired_ones_do_not_count(
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scripts, "BANS_NUMBER", 2)
    wire = start()
    assert await wire.front.moderation.ban(CHANNEL, 0, ban("over", seconds=-1)) is ModerationResult.CHANGED
    assert [await wire.front.moderation.ban(CHANNEL, 0, ban(name)) for name in ("jane", "john", "joan")] == [
        ModerationResult.CHANGED,
        ModerationResult.CHANGED,
        ModerationResult.UNCHANGED,
    ]
    # An existing one can be changed
    assert await wire.front.moderation.ban(CHANNEL, 0, ban("john", seconds=5)) is ModerationResult.CHANGED
    assert {one.subject for one in (await wire.front.moderation.moderation_state(CHANNEL)).bans} == {"jane", "john"}


async def test_expired_bans_leave_nothing_in_redis(wire: Wire) -> None:
    await wire.front.moderation.ban(CHANNEL, 0, ban("jane", seconds=100))
    await wire.front.moderation.ban(CHANNEL, 0, ban("john", seconds=10))
    key = next(key for key in wire.keys.for_moderation() if key.endswith(":bans"))
    assert 90_000 < await wire.redis.call("PTTL", key, key=key) <= 100_000
    await wire.front.moderation.ban(CHANNEL, 0, ban("joan", seconds=-5))
    assert "joan" not in {one.subject for one in (await wire.front.moderation.moderation_state(CHANNEL)).bans}
    assert await wire.redis.call("HLEN", key, key=key) == 2


async def test_nothing_is_changed_before_lost_restrictions_are_restored(wire: Wire) -> None:
    # Given a front that knows of more changes than Redis
    for act in (
        wire.front.moderation.ban(CHANNEL, 1, ban()),
        wire.front.moderation.unban(CHANNEL, 1, "jane"),
        wire.front.moderation.freeze(CHANNEL, 1, FREEZE),
        wire.front.moderation.grant_key(CHANNEL, 1, key()),
        wire.front.moderation.revoke_key(CHANNEL, 1, "x"),
    ):
        assert await act is ModerationResult.STATE_LOST
    assert await wire.front.moderation.moderation_state(CHANNEL) == ModerationState()
    # When it restores them
    known = ModerationState(7, FREEZE, (ban("jane"), ban("over", seconds=-1)), (key(), key(seconds=-1), key()))
    assert await wire.front.moderation.restore_moderation(CHANNEL, known)
    # Then they are valid, except for expired ones, and every front is notified
    left = ModerationState(7, FREEZE, known.bans[:1], known.keys[::2])
    assert await wire.front.moderation.moderation_state(CHANNEL) == left
    assert await orders(wire) == [("moderation", 7)]
    assert await wire.front.moderation.ban(CHANNEL, 7, ban("john")) is ModerationResult.CHANGED


async def test_of_several_restored_states_the_newest_is_kept(wire: Wire) -> None:
    old, new = ModerationState(3, FREEZE, (ban("jane"),)), ModerationState(5, None, (ban("john"),))
    for told in (old, new, old):
        await wire.front.moderation.restore_moderation(CHANNEL, told)
    assert await wire.front.moderation.moderation_state(CHANNEL) == new


# Keys


async def test_keys_are_granted_and_revoked_and_every_front_is_notified(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "ACCESS_KEYS_NUMBER", 2)
    wire, keys = start(), [key(), key(), key()]
    changed, unchanged = ModerationResult.CHANGED, ModerationResult.UNCHANGED
    assert [await wire.front.moderation.grant_key(CHANNEL, 0, one) for one in keys] == [changed, changed, unchanged]
    assert set((await wire.front.moderation.moderation_state(CHANNEL)).keys) == set(keys[:2])
    assert await wire.front.moderation.revoke_key(CHANNEL, 2, keys[0].id) is changed
    assert await wire.front.moderation.revoke_key(CHANNEL, 3, keys[0].id) is unchanged
    assert (await wire.front.moderation.moderation_state(CHANNEL)).keys == (keys[1],)
    assert await orders(wire) == [("moderation", 1), ("moderation", 2), ("moderation", 3)]


# Frozen


async def enqueued(wire: Wire, type_: str, *, again: bool = False) -> EnqueueStatus:
    return (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, wire.job(type=type_), 0, again=again)).status


async def test_a_frozen_channel_accepts_nicknames_and_no_messages(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.front.moderation.freeze(CHANNEL, 0, FREEZE)
    for type_ in ("text", "image", "geojson", "crs", "bbox", "position", "model", "script", "like", "count2", "e"):
        assert await enqueued(wire, type_) == EnqueueStatus.FROZEN
    assert await wire.size("inbox:light") == 0
    for type_ in PASSES_FREEZE - {"exiter"}:
        assert await enqueued(wire, type_) == EnqueueStatus.ENQUEUED
    # Jobs enqueued before are not lost
    assert await enqueued(wire, "text", again=True) == EnqueueStatus.ENQUEUED
    await wire.front.moderation.freeze(CHANNEL, 1, None)
    assert await enqueued(wire, "text") == EnqueueStatus.ENQUEUED
    await assert_meters_are_right(wire)


async def test_in_a_frozen_channel_only_registered_connections_send_exiters(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane", connection=1)
    await wire.front.moderation.freeze(CHANNEL, 0, FREEZE)
    for connection, answer in ((1, EnqueueStatus.ENQUEUED), (2, EnqueueStatus.FROZEN)):
        job = wire.job(type="exiter", connection=connection)
        assert (await wire.front.inbox.enqueue(CHANNEL, Lane.LIGHT, job, 0)).status is answer


# Orders


async def test_only_a_registered_nickname_is_disconnected(wire: Wire) -> None:
    await wire.front.presence.renew_lease(CHANNEL, ALIVE)
    await wire.register("jane")
    await orders(wire)
    assert not await wire.front.moderation.disconnect(CHANNEL, "john", b'{"nickname":"john"}')
    assert await wire.front.moderation.disconnect(CHANNEL, "jane", b'{"nickname":"jane"}')
    assert await orders(wire) == [("disconnect", {"nickname": "jane"})]


async def test_a_survey_names_the_live_fronts(wire: Wire) -> None:
    for name, lease in (("front-1", ALIVE), ("front-2", ALIVE), ("front-3", -1.0)):
        await wire.new_front(name).presence.renew_lease(CHANNEL, lease)
    assert sorted(await wire.front.moderation.start_survey(CHANNEL, b'{"call":"c"}')) == ["front-1", "front-2"]
    assert await orders(wire) == [("survey", {"call": "c"})]
    await wire.new_front("front-2").moderation.answer_survey(CHANNEL, "c", b"here")
    assert await wire.front.moderation.survey_answers(CHANNEL, "c", ["front-1", "front-2"]) == [None, b"here"]
    assert await wire.front.moderation.survey_answers(CHANNEL, "d", ["front-2"]) == [None]
    assert await wire.front.moderation.survey_answers(CHANNEL, "c", []) == []


async def test_orders_are_not_sent_to_clients_that_reconnect(wire: Wire) -> None:
    (first,) = await say(wire)
    await wire.front.moderation.ban(CHANNEL, 0, ban())
    await wire.front.moderation.start_survey(CHANNEL, b'{"call":"c"}')
    (second,) = await say(wire)
    assert await since(wire, first) == [second]
