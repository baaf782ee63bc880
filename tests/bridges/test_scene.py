"""All senders and receivers at once: each receives everything once, despite kills."""

from collections.abc import Iterator

import pytest

from tests.bridges.conftest import Bridged, OpenBridged
from tests.bridges.play import CHANNEL, HOOK, KEY, Play, texts
from tests.support.redis_servers import Server
from tests.support.waiting import LOOK, until


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis that loses nothing when it is killed."""
    with Server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def bridged(open_bridged: OpenBridged, redis: Server) -> Iterator[Bridged]:
    hooks = f"{CHANNEL}:{KEY}:{HOOK}"
    with open_bridged(redis_url=redis.url, fronts=2, light=0, heavy=0, both=1, hooks=hooks) as bridged:
        yield bridged


async def test_all_receive_everything_once_despite_kills(bridged: Bridged, redis: Server) -> None:
    # When forty messages of all types are sent while each process is killed once
    play = Play(bridged, redis)
    async with play.open():
        await play.run()
    assert play.killed == [bridged.stack.fronts[0], bridged.stack.both[0], bridged.bridge, redis, bridged.synapse]
    assert sum(map(len, play.said.values())) + len(play.jane.likes) + len(play.of_bot("m.reaction")) >= 40

    # Then each participant has each message once, in its sender's order, and with the right author
    for author, said in play.said.items():
        for name, heard in play.receivers(author).items():
            if name == author:  # a sender that repeats a message receives it again
                assert sorted(set(heard)) == sorted(said), name
            else:
                assert heard == said, name
    assert not (faults := play.ledger.faults()), faults
    for heard in (play.jane.heard, play.john.heard, play.dashboard, play.room):
        assert {one.author for one in heard} <= play.said.keys()
    assert play.alice.nickname not in {one.author for one in play.room}

    # And the same holds for likes and replies
    first = texts(play.room, "jane")[0]
    assert sorted(play.jane.likes) == sorted([("john", "well said"), (play.alice.nickname, f"no-{first}")])
    assert [event["content"]["m.relates_to"]["key"] for event in play.of_bot("m.reaction")] == ["👍 jane"]
    assert not play.john.likes
    for number, replied in play.replies.items():
        for person in (play.jane, play.john):
            assert person.messages[number]["in_reply_to_id"] == person.messages[replied]["id"]
        if number not in play.events:
            relation = play.in_room("jane")[number]["content"]["m.relates_to"]
            assert relation == {"m.in_reply_to": {"event_id": play.events[replied]}}

    # And nothing is left in the inboxes
    await until(play.is_drained, "the inboxes to be empty", every=LOOK)
