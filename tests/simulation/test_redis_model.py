"""The model of Redis, held to a real Valkey: both are asked the same, at random, and answer the same."""

import contextlib
import random
import re
import time
from typing import Any

import pytest

from gischat.broker import commands
from gischat.broker.broker import Broker
from gischat.broker.entries import Job, Source
from gischat.broker.inbox_consumer import Delivery, InboxConsumer
from gischat.broker.moderation import Ban, Freeze
from gischat.broker.namespace import Namespace
from gischat.broker.presence import Presence
from gischat.broker.resp_errors import ResponseError
from gischat.protocol.messages import Lane, server_message
from tests.gischat.broker.wire import Worker
from tests.simulation.both import Both
from tests.simulation.redis_data import COMMANDS
from tests.support.processes import Valkey
from tests.support.settings import settings
from worker import effects
from worker.commit import Committer

CHANNEL = "QGIS"
OF_SERVER = {"CLIENT", "SELECT", "PING", "CLUSTER", "EVAL", "EVALSHA", "SCRIPT"}  # what the model's server knows itself


@pytest.fixture
def both(valkey: Valkey, request: pytest.FixtureRequest) -> Both:
    return Both(valkey, request.node.name)


def test_the_model_knows_the_commands_that_gischat_uses_and_no_others() -> None:
    used = {command.split()[0] for command in commands.COMMANDS} - OF_SERVER
    assert {name.decode() for name in COMMANDS} == used


# Every command, in the forms that gischat uses. A key is written as its type (W: a sorted
# set of one score); m, v are some words, n some numbers, i some
# places in a stream.
FORMS = """
DEL H; DEL S; DEL Z; EXPIRE H 60; PEXPIRE Z 60000; PERSIST H; PTTL H; GET S; MGET S H S; SET S v
SET S v NX; SET S v NX PX 60000; SET S v PX 60000; SET S n; INCRBY S n; DECRBY S n; HGET H m; HMGET H m m; HGETALL H
HKEYS H; HEXISTS H m; HSET H m v; HSET H m n; HSET H m v m n; HDEL H m; HDEL H m m; HINCRBY H m n; RPUSH L v
LPOP L; LINDEX L n; LRANGE L n n; LREM L 1 v; SADD E m; SREM E m; ZADD Z n m; ZADD Z n m; ZADD Z XX n m
ZSCORE Z m; ZRANGE Z n n; ZRANGE Z n n WITHSCORES; ZRANGEBYSCORE Z n n; ZRANGEBYSCORE Z -inf (n
ZRANGEBYSCORE Z n +inf; ZADD W 0 m; ZRANGEBYLEX W [m (m! LIMIT 0 1; ZREM Z m m; ZREMRANGEBYRANK Z n n
ZREMRANGEBYSCORE Z -inf n; ZCARD Z; HLEN H; TYPE H; TYPE Z
XADD X * m v; XADD X * m v m v; XADD X MAXLEN ~ 1000 * m v; XLEN X; XDEL X i
XTRIM X MAXLEN = 3; XRANGE X - +; XRANGE X i + COUNT 2; XRANGE X (i +; XRANGE X i i; XREVRANGE X + - COUNT 1
XREVRANGE X + -; XGROUP CREATE X g 0 MKSTREAM; XGROUP CREATE X g $; XGROUP DELCONSUMER X g m
XINFO CONSUMERS X g; XREAD STREAMS X X i i; XREAD COUNT 2 STREAMS X i; XREADGROUP GROUP g m COUNT 2 STREAMS X >
XREADGROUP GROUP g m STREAMS X >; XPENDING X g - + 10; XPENDING X g i i 1; XPENDING X g - + 10 m
XPENDING X g IDLE 0 - + 10; XACK X g i; XCLAIM X g m 0 i; XCLAIM X g m 0 i i; XCLAIM X g m 99999 i
XCLAIM X g m 0 i JUSTID; TIME; XCLAIM X g m 0 i RETRYCOUNT 1 FORCE JUSTID
"""


def test_every_command_has_its_form() -> None:
    assert {form.split()[0].encode() for form in re.split("[;\n]", FORMS.strip())} == set(COMMANDS)


@pytest.mark.parametrize("seed", range(3))
async def test_single_commands(both: Both, seed: int) -> None:
    """On few keys: also on those that hold something else, and with what makes no sense."""
    dice = random.Random(seed)
    forms = [form.split() for form in re.split("[;\n]", FORMS.strip())]
    prefix = f"model-{seed}-{time.time_ns()}"
    for _ in range(2500):
        words = [_drawn(word, prefix, both, dice) for word in dice.choice(forms)]
        with contextlib.suppress(ResponseError):
            await both.call(*words, key="")


def _drawn(word: str, prefix: str, both: Both, dice: random.Random) -> str:
    if word in ("H", "L", "S", "E", "Z", "W", "X"):
        return f"{prefix}:{word if dice.random() < 0.96 else dice.choice('HLSEZX')}:{dice.randint(0, 1)}"
    if word.rstrip("!") in ("m", "[m", "(m"):
        return word.replace("m", f"member-{dice.randint(0, 3)}")
    if word == "v":
        return f"value-{dice.randint(0, 3)}"
    if word.lstrip("(") == "n":
        return word.replace("n", str(dice.choice([0, 1, 2, 3, -1, -2])))
    if word.lstrip("(") == "i":
        return word.replace(
            "i", f"1-{dice.randrange(both.entry_ids)}" if both.entry_ids and dice.random() < 0.9 else "5-0"
        )
    return word


class Instance:
    """The fronts and workers of an instance, who do things at random."""

    def __init__(self, both: Both, dice: random.Random) -> None:
        self.dice = dice
        self.settings = settings(
            instance_id=f"model-{time.time_ns()}", channels=(CHANNEL,), max_outbox_messages=30, max_stored_messages=3
        )
        redis: Any = both
        namespace = Namespace(self.settings)
        self.fronts = [Broker.of(namespace, name, redis) for name in ("f1", "f2")]
        self.workers = [
            Worker(
                InboxConsumer(namespace, lane, [CHANNEL], name, redis=redis, reader=redis),
                Committer(namespace, redis=redis, reader=redis),
                Presence(namespace, name, redis),
            )
            for lane in Lane
            for name in ("w1", "w2")
        ]
        self.ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(12)]
        self.held: list[tuple[Worker, Delivery]] = []
        self._number = 0

    async def begin(self) -> None:
        for worker in self.workers:
            await worker.inbox.create_groups()

    async def act(self) -> None:
        acts = [self.enqueue] * 6 + [self.read] * 4 + [self.end] * 8 + [self.renew] * 2 + [self.look] * 3
        await self.dice.choice([*acts, self.moderate, self.moderate, self.keep_house])()

    async def enqueue(self) -> None:
        self._number += 1
        dice, front = self.dice, self.dice.choice(self.fronts)
        source = Source(front.front, dice.randint(1, 3), self._number)
        lane, type = dice.choice([(Lane.LIGHT, "text"), (Lane.LIGHT, "newcomer"), (Lane.HEAVY, "image")])
        id = dice.choice([*self.ids, ""])
        body = server_message(type, author=dice.choice(["jane", "john"])).replace(b'"id":"', b'"id":"%b' % id.encode())
        job = Job(source, type, id, body, "net", dice.choice(["", "bot"]))
        await front.inbox.enqueue(CHANNEL, lane, job, dice.choice([0, 0, 3, 10**6]), again=dice.random() < 0.2)

    async def read(self) -> None:
        worker = self.dice.choice(self.workers)
        reads = [
            worker.inbox.read([CHANNEL], count=3),
            worker.inbox.claim_own(CHANNEL, 2),
            worker.inbox.claim_stale(CHANNEL, 0.0, 2),
        ]
        chosen = self.dice.randrange(len(reads))
        for number, one in enumerate(reads):
            if number == chosen:
                self.held += [(worker, held) for held in await one]
            else:
                one.close()

    async def end(self) -> None:
        if not self.held:
            return
        dice = self.dice
        worker, held = self.held.pop(dice.randrange(len(self.held)))
        nickname = dice.choice(["jane", "john"])
        effect = dice.choice(
            [
                effects.Publish(held.job.body, stored=dice.random() < 0.8),
                effects.Publish(held.job.body),
                effects.Refuse("No."),
                effects.BodyMissing("Lost."),
                effects.Acknowledge(),
                effects.Register(nickname),
                effects.Register(nickname.title()),
                effects.Restore(nickname),
                effects.Exit(nickname),
                effects.Leave(),
                effects.Like(nickname),
                effects.Count(dice.randint(0, 3)),
                effects.DeadLetter("It crashed."),
            ]
        )
        await worker.inbox.renew_claim(held)
        if worker.inbox.lane is Lane.HEAVY and dice.random() < 0.3:
            await worker.inbox.release(held)
            await worker.inbox.claim(CHANNEL, held.entry)
        await worker.committer.commit(held, effect)
        if dice.random() < 0.2:
            await worker.committer.commit(held, effect)

    async def renew(self) -> None:
        front = self.dice.choice(self.fronts)
        await front.presence.renew_lease(
            CHANNEL, self.dice.choice([600.0, 600.0, -600.0]), is_state_lost=self.dice.random() < 0.2
        )

    async def look(self) -> None:
        front = self.dice.choice(self.fronts)
        looks = [
            front.history.snapshot(CHANNEL),
            front.history.retained(CHANNEL, self.dice.choice([5, 10**6]), self.dice.choice([500, 10**6])),
            front.presence.user_counts([CHANNEL]),
        ]
        looks += [
            front.presence.nicknames(CHANNEL),
            front.outbox.tail(CHANNEL, 5),
            front.outbox.newest_entry_ids(CHANNEL, 3),
        ]
        for one in looks:
            await one

    async def moderate(self) -> None:
        dice, front = self.dice, self.dice.choice(self.fronts)
        ban = Ban("nickname", dice.choice("ab"), 0, int(time.time()) + 600, "", "", is_everywhere=False)
        known = dice.randint(0, 2)
        acts = [
            front.moderation.ban(CHANNEL, known, ban),
            front.moderation.unban(CHANNEL, known, dice.choice("ab")),
            front.moderation.freeze(CHANNEL, known, dice.choice([None, None, Freeze(0, "")])),
            front.moderation.delete_messages(CHANNEL, dice.sample(self.ids, 2), again=dice.random() < 0.3),
            front.moderation.disconnect(CHANNEL, "jane", b"{}"),
            front.moderation.moderation_state(CHANNEL),
        ]
        for one in acts:
            await one

    async def keep_house(self) -> None:
        worker = self.dice.choice(self.workers)
        for front in await worker.presence.expired_fronts(CHANNEL):
            await worker.presence.reap(CHANNEL, front)
        await worker.inbox.delete_idle_consumers(CHANNEL, 3600)
        await self.fronts[0].presence.release_lease(CHANNEL)


@pytest.mark.parametrize("seed", range(4))
async def test_scripts(both: Both, seed: int) -> None:
    """The real scripts, called as fronts and workers call them."""
    instance = Instance(both, random.Random(seed))
    await instance.begin()
    for _ in range(250):
        await instance.act()
    assert both.asked > 400
