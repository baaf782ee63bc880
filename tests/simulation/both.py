"""A real Valkey and the model of it, asked the same.

The ids of stream entries are made of each one's clock: they are compared, and handed back, by the order in which they
came up.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError as RealError

from gischat.broker.client import Decoder
from gischat.broker.resp_errors import ResponseError
from gischat.broker.scripts import Script
from gischat.broker.transport import Argument
from tests.simulation.loop import Loop
from tests.simulation.network import Network
from tests.simulation.redis_server import Server
from tests.simulation.redis_types import Answer
from tests.support.processes import HOST, Valkey

ENTRY_ID = re.compile(rb"\d{13}-\d+")
TIME = re.compile(rb'(?<!\d)\d{13}(?!\d)|(?<="timestamp":)\d+')


class Both:
    """A `Redis` that asks a real Valkey and the model, and has one answer or complains."""

    def __init__(self, valkey: Valkey, instance: str) -> None:
        self._real = redis.Redis(host=HOST, port=valkey.port, protocol=2).connection_pool.get_connection()
        dice = random.Random(instance)
        loop = Loop(dice)
        self._model = Server(loop, Network(loop, dice))
        self._model.data.clock = lambda: self._milliseconds
        self._milliseconds = time.time() * 1000
        self._entry_ids: tuple[list[bytes], list[bytes]] = ([], [])
        self.asked = 0

    @property
    def entry_ids(self) -> int:
        return len(self._entry_ids[0])

    def call(self, *command: Argument, key: str, decode: Decoder | None = None) -> "asyncio.Future[Any]":
        self.asked += 1
        self._milliseconds += 1
        if command[0] in ("EVAL", "XADD"):
            time.sleep(0.0011)  # no two get the same place, but in one script
        words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
        answers = [self._canonical(self._ask_real(words), 0), self._canonical(self._ask_model(words), 1)]
        real, model = (_comparable(_without_time(words[0], answer)) for answer in answers)
        assert real == model, (words, real, model)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(answers[0], Exception):
            answered.set_exception(answers[0])
        else:
            answered.set_result(answers[0] if decode is None else decode(answers[0]))
        return answered

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        decode: Decoder | None = None,
        **_: object,
    ) -> "asyncio.Future[Any]":
        return self.call("EVAL", script.text, len(keys), *keys, *arguments, key=keys[0], decode=decode)

    def _ask_real(self, words: Sequence[bytes]) -> Any:
        self._real.send_command(*[self._own(word, 0) for word in words])
        try:
            return self._real.read_response(disable_decoding=True)
        except RealError as error:
            return ResponseError(str(error))

    def _ask_model(self, words: Sequence[bytes]) -> Any:
        own = [self._own(word, 1) for word in words]
        try:
            return self._model.ask(None, own[0].upper(), own)  # type: ignore[arg-type]
        except Answer as error:
            return ResponseError(str(error).removeprefix("ERR "))

    def _own(self, word: bytes, of: int) -> bytes:
        """A place as this one wrote it."""
        found = re.fullmatch(rb"(\(?)1-(\d+)", word)
        return found[1] + self._entry_ids[of][int(found[2])] if found else word

    def _canonical(self, answer: Any, of: int) -> Any:
        if isinstance(answer, list):
            return [self._canonical(one, of) for one in answer]
        if isinstance(answer, bytes) and ENTRY_ID.fullmatch(answer):
            if answer not in self._entry_ids[of]:
                self._entry_ids[of].append(answer)
            return b"1-%d" % self._entry_ids[of].index(answer)
        return answer


def _without_time(command: bytes, answer: Any) -> Any:
    if command == b"TIME":
        return len(answer)
    if command == b"PTTL":
        return min(answer, 0)
    if command in (b"XPENDING", b"XINFO") and isinstance(answer, list):
        return [[*one[:2], *one[3:4]] for one in answer]
    return answer


def _comparable(answer: Any) -> Any:
    """Without what tells the time; an error by its first word."""
    if isinstance(answer, list):
        return [_comparable(one) for one in answer]
    if isinstance(answer, bytes) and b'"connection":' in answer:
        return sorted(json.loads(answer).items())  # of Lua's tables: their order is nobody's
    if isinstance(answer, bytes):
        return TIME.sub(b"T", ENTRY_ID.sub(b"P", answer))
    if isinstance(answer, ResponseError):
        return str(answer).split(" ")[0] if str(answer)[:1].isupper() else "an error"
    if isinstance(answer, int) and answer > 10**12:
        return "T"
    return answer
