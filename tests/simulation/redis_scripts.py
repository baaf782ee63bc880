"""The scripts inside Redis: the real ones, in a real Lua 5.1, over the model's data."""

from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

import msgspec
from lupa import lua51

from tests.simulation.redis_types import Answer, Status

Ask = Callable[[Sequence[bytes]], Any]

# What a script is run by. Its globals are those that Redis gives it; `ask` answers with a value, or with the text of an
# error where `pcall` asks.
_LUA = b"""
local ask, sha1hex, encode = ...
local function shaped(kind, value)
  if kind == 'error' then return { err = value } end
  if kind == 'status' then return { ok = value } end
  return value
end
redis = {
  call = function(...) return shaped(ask(false, ...)) end,
  pcall = function(...) return shaped(ask(true, ...)) end,
  sha1hex = sha1hex,
}
cjson = { encode = encode }
return function(script, count, ...)
  local all = { ... }
  local keys, arguments = {}, {}
  for index = 1, count do keys[index] = all[index] end
  for index = count + 1, #all do arguments[index - count] = all[index] end
  KEYS, ARGV = keys, arguments
  return script()
end
"""


SHORT = b"-- "
_TEXTS: dict[bytes, bytes] = {}


def short_name(digest: str, text: str) -> str:
    """What stands for the text of a script: to hand ten kilobytes around costs more than to run them."""
    short = SHORT + digest.encode()
    _TEXTS[short] = text.encode()
    return short.decode()


class Scripts:
    """A Lua for all the Redis of a process: it keeps nothing between two calls. Compiled scripts are kept by digest."""

    def __init__(self) -> None:
        self._lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False)
        self._compiled: dict[bytes, Any] = {}
        self._ask_data: Ask
        self._run: Callable[..., Any] = self._lua.compile(_LUA)(self._ask, sha1hex, self._encode)

    def digest(self, text: bytes) -> bytes:
        if text in _TEXTS:
            digest, whole = text.removeprefix(SHORT), _TEXTS[text]
        else:
            digest, whole = sha1hex(text), text
        if digest not in self._compiled:
            self._compiled[digest] = self._lua.compile(whole)
        return digest

    def run(self, ask: Ask, digest: bytes, count: int, arguments: Sequence[bytes]) -> Any:
        """Run a script, whose commands `ask` carries out; return its answer.

        Raises:
            Answer: an error that it did not catch, or that it returned.
        """
        self._ask_data = ask
        return _answer(self._run(self._compiled[digest], count, *arguments))

    def _ask(self, catches: bool, *words: Any) -> Any:
        try:
            answer = self._ask_data([word if type(word) is bytes else _written(word) for word in words])
        except Answer as error:
            if catches:
                return b"error", str(error).encode()
            raise
        if isinstance(answer, Status):
            return b"status", bytes(answer)
        return b"value", self._value(answer)

    def _value(self, answer: Any) -> Any:
        if isinstance(answer, list):
            return self._lua.table_from([self._value(one) for one in answer])
        return False if answer is None else answer

    def _encode(self, table: Any) -> bytes:
        encoded = msgspec.json.encode({name.decode(): table[name].decode() for name in sorted(table)})
        return encoded.replace(b"/", rb"\/")  # as cjson does


def sha1hex(text: bytes) -> bytes:
    return sha1(text, usedforsecurity=False).hexdigest().encode()


def _written(number: float) -> bytes:
    """A number as Redis writes those that a script hands it."""
    assert type(number) in (int, float), "Redis takes strings and numbers from a script"
    return b"%d" % number if number == int(number) else repr(number).encode()


def _answer(value: Any) -> Any:
    """What a script returns, as its caller gets it."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return 1 if value else None
    if isinstance(value, int | float):
        return int(value)
    if (error := value[b"err"]) is not None:
        raise Answer(error.decode())
    if (status := value[b"ok"]) is not None:
        return Status(status)
    answer = []
    while (one := value[len(answer) + 1]) is not None:
        answer.append(_answer(one))
    return answer
