"""The scripts inside Redis: the real ones, in a real Lua 5.1, over the model's data."""

from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

import msgspec
from lupa import lua51

from tests.simulation.redis_data import Data
from tests.simulation.redis_types import Answer, Status

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


class Scripts:
    """A Lua for all the Redis of a process: it keeps nothing between two calls. Compiled scripts are kept by digest."""

    def __init__(self) -> None:
        self._lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=True, register_eval=False)
        self._compiled: dict[bytes, Any] = {}
        self._data: Data
        self._run: Callable[..., Any] = self._lua.compile(_LUA)(self._ask, _sha1hex, self._encode)

    def digest(self, text: bytes) -> bytes:
        digest = sha1(text, usedforsecurity=False).hexdigest().encode()
        if digest not in self._compiled:
            self._compiled[digest] = self._lua.compile(text)
        return digest

    def run(self, data: Data, digest: bytes, count: int, arguments: Sequence[bytes]) -> Any:
        """Runs a script; its answer.

        Raises:
            Answer: an error that it did not catch, or that it returned.
        """
        self._data = data
        return _answer(self._run(self._compiled[digest], count, *arguments))

    def _ask(self, catches: bool, *words: Any) -> Any:
        command = [word if type(word) is bytes else _written(word) for word in words]
        try:
            answer = self._data.ask(command)
        except Answer as error:
            if catches:
                return b"error", str(error).encode()
            raise
        kind = type(answer)
        if answer is None:
            return b"value", False
        if kind is list:
            return b"value", self._table(answer)
        if kind is Status:
            return b"status", bytes(answer)
        return b"value", answer

    def _table(self, values: list[Any]) -> Any:
        return self._lua.table_from(
            [False if one is None else self._table(one) if type(one) is list else one for one in values]
        )

    def _encode(self, table: Any) -> bytes:
        return msgspec.json.encode({name.decode(): table[name].decode() for name in sorted(table)})


def _sha1hex(text: bytes) -> bytes:
    return sha1(text, usedforsecurity=False).hexdigest().encode()


def _written(number: Any) -> bytes:
    """A number as Redis writes those that a script hands it."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise Answer("ERR Lua redis lib command arguments must be strings or integers")
    return b"%d" % number if number == int(number) else b"%.17g" % number


def _answer(value: Any) -> Any:
    """What a script returns, as its caller gets it."""
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, int | float):
        return int(value)
    if isinstance(value, bytes):
        return value
    if (error := value[b"err"]) is not None:
        raise Answer(error.decode())
    if (status := value[b"ok"]) is not None:
        return Status(status)
    answer = []
    while (one := value[len(answer) + 1]) is not None:
        answer.append(_answer(one))
    return answer
