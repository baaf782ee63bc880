"""The model of Redis, held to a real Valkey: both are asked the same, at random, and answer the same."""

import random
import re
import time
from collections.abc import Sequence
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from gischat.broker import commands
from tests.simulation.loop import Loop
from tests.simulation.network import Network
from tests.simulation.redis_server import COMMANDS, Server
from tests.simulation.redis_types import Answer
from tests.support.processes import HOST, Valkey

OF_SERVER = {"CLIENT", "SELECT", "PING", "CLUSTER", "EVAL", "EVALSHA", "SCRIPT"}  # what the model's server knows itself

# Every command, in the forms that gischat uses. A key is written as its type (W: a sorted set of one score); m, v are
# some words, n some numbers, i some places in a stream.
FORMS = """
DEL H; DEL S; DEL Z; EXPIRE H 60; PEXPIRE Z 60000; PERSIST H; PTTL H; GET S; MGET S H S; SET S v
SET S v NX; SET S v NX PX 60000; SET S v PX 60000; SET S n; INCRBY S n; DECRBY S n; HGET H m; HMGET H m m; HGETALL H
HKEYS H; HEXISTS H m; HSET H m v; HSET H m n; HSET H m v m n; HDEL H m; HDEL H m m; HINCRBY H m n; RPUSH L v
LPOP L; LINDEX L n; LRANGE L n n; LREM L 1 v; SADD E m; SREM E m; ZADD Z n m; ZADD Z n m; ZADD Z XX n m; ZADD Z NX n m
ZSCORE Z m; ZRANGE Z n n; ZRANGE Z n n WITHSCORES; ZRANGEBYSCORE Z n n; ZRANGEBYSCORE Z -inf (n
ZRANGEBYSCORE Z n +inf; ZADD W 0 m; ZRANGEBYLEX W [m (m! LIMIT 0 1; ZREM Z m m; ZREMRANGEBYRANK Z n n
ZREMRANGEBYSCORE Z -inf n; ZCARD Z; HLEN H; TYPE H; TYPE Z
XADD X * m v; XADD X * m v m v; XADD X MAXLEN ~ 1000 * m v; XLEN X; XDEL X i
XTRIM X MAXLEN = 3; XRANGE X - +; XRANGE X i + COUNT 2; XRANGE X (i +; XRANGE X i i; XREVRANGE X + - COUNT 1
XREVRANGE X + -; XREVRANGE X (i - COUNT 2; XGROUP CREATE X g 0 MKSTREAM; XGROUP CREATE X g $; XGROUP DELCONSUMER X g m
XINFO CONSUMERS X g; XREAD STREAMS X X i i; XREAD COUNT 2 STREAMS X i; XREADGROUP GROUP g m COUNT 2 STREAMS X >
XREADGROUP GROUP g m STREAMS X >; XPENDING X g - + 10; XPENDING X g i i 1; XPENDING X g - + 10 m
XPENDING X g IDLE 0 - + 10; XACK X g i; XCLAIM X g m 0 i; XCLAIM X g m 0 i i; XCLAIM X g m 99999 i
XCLAIM X g m 0 i JUSTID; TIME; XCLAIM X g m 0 i RETRYCOUNT 1 FORCE JUSTID
"""

# What Lua makes of an answer, and Redis of what Lua returns. The only key is one of the named type.
SCRIPTS = """
H return redis.call('HMGET', KEYS[1], 'member-0', 'nothing', 'member-1')
H return redis.call('HGET', KEYS[1], 'nothing') or redis.call('HSET', KEYS[1], 'member-0', 1 / 3, 'member-1', 4.0)
H return {redis.sha1hex(ARGV[1]), cjson.encode({ text = ARGV[1] }), #KEYS, #ARGV, KEYS[2] == nil}
S return {1, 2.9, -3, '4', true, {5, {6}}, {}, redis.call('EXPIRE', KEYS[1], 60), nil, 8}
S return redis.call('SET', KEYS[1], ARGV[1])
S return { ok = redis.call('TYPE', KEYS[1]).ok }
S return redis.call('INCRBY', KEYS[1], 2)
S local answer = redis.pcall('INCRBY', KEYS[1], 2) return type(answer) == 'table' and answer.err:match('^%S+') or answer
X return redis.pcall('XPENDING', KEYS[1], 'g', '-', '+', 1)
X return redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 2)
Z return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
"""


def forms() -> list[list[str]]:
    scripts = [line.partition(" ") for line in SCRIPTS.strip().split("\n")]
    evals = [["EVAL", text, "1", key, "one/two", "n"] for key, _, text in scripts]
    return [form.split() for form in re.split("[;\n]", FORMS.strip())] + evals


def test_the_model_has_every_command_that_gischat_uses_and_each_has_a_form() -> None:
    used = {command.split()[0] for command in commands.COMMANDS} - OF_SERVER
    assert used == {name.decode() for name in COMMANDS} == {form[0] for form in forms()} - OF_SERVER


class Both:
    """A real Valkey and the model of it. Ids of entries contain each one's time: `1-7` is the eighth that came up."""

    def __init__(self, valkey: Valkey) -> None:
        self._real = redis.Redis(host=HOST, port=valkey.port, protocol=2).connection_pool.get_connection()
        loop = Loop(random.Random())
        self._model = Server(loop, Network(loop, loop.dice))
        self._model.data.clock = lambda: self._milliseconds
        self._milliseconds = time.time() * 1000
        self._ids: tuple[list[bytes], list[bytes]] = ([], [])

    @property
    def number_of_ids(self) -> int:
        return len(self._ids[0])

    def ask(self, *words: str) -> None:
        self._milliseconds += 1
        time.sleep(0.0011 if words[0] == "XADD" else 0)  # no two entries have the same time
        real, model = (
            self._known(ask([self._own(word, ids) for word in words]), ids)
            for ask, ids in zip((self._ask_real, self._ask_model), self._ids, strict=True)
        )
        assert real == model, (words, real, model)

    def _ask_real(self, words: Sequence[bytes]) -> Any:
        self._real.send_command(*words)
        try:
            return _timeless(words, self._real.read_response(disable_decoding=True))
        except ResponseError as error:
            return f"error {str(error).split()[0] if str(error).split()[0].isupper() else ''}"

    def _ask_model(self, words: Sequence[bytes]) -> Any:
        try:
            return _timeless(words, self._model.ask([*words]))
        except Answer as error:
            return f"error {str(error).split()[0].removeprefix('ERR')}"

    def _own(self, word: str, ids: list[bytes]) -> bytes:
        found = re.fullmatch(r"(\(?)1-(\d+)", word)
        return found[1].encode() + ids[int(found[2])] if found else word.encode()

    def _known(self, answer: Any, ids: list[bytes]) -> Any:
        """An answer with numbers for ids."""
        if isinstance(answer, list):
            return [self._known(one, ids) for one in answer]
        if isinstance(answer, bytes) and re.fullmatch(rb"\d{13}-\d+", answer):
            if answer not in ids:
                ids.append(answer)
            return ids.index(answer)
        return answer


def _timeless(words: Sequence[bytes], answer: Any) -> Any:
    if words[0] == b"TIME":
        return len(answer)
    if words[0] == b"PTTL":
        return min(answer, 0)
    if (words[0] in (b"XPENDING", b"XINFO") or b"XPENDING" in words[1]) and isinstance(answer, list):
        return [[*one[:2], *one[3:4]] for one in answer]
    return answer


@pytest.mark.parametrize("seed", range(2))
def test_it_answers_as_valkey_does(valkey: Valkey, seed: int) -> None:
    """On few keys: also on those that hold something else."""
    dice, prefix, both, known = random.Random(seed), f"model-{time.time_ns()}", Both(valkey), forms()
    for _ in range(3000):
        both.ask(*(_drawn(word, prefix, both, dice) for word in dice.choice(known)))


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
        is_known = both.number_of_ids and dice.random() < 0.9
        return word.replace("i", f"1-{dice.randrange(both.number_of_ids)}" if is_known else "5-0")
    return word
