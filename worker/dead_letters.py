"""`gischat dead-letters`: jobs that failed, for the operator to see, retry or delete.

People's words are shown by `show` alone, which is asked for one letter.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from gischat.broker.client import Redis
from gischat.broker.discovery import connect
from gischat.broker.keys import ChannelKeys
from gischat.broker.scripts import Scripts
from gischat.errors import Unavailable
from gischat.protocol.types import TYPES, Lane
from gischat.settings import Settings, SettingsError, load
from gischat.timings import Timings

READ_LETTERS = 100


class DeadLetter(NamedTuple):
    """A job that could not be done, and why."""

    channel: str
    place: str  # in the channel's stream of dead letters
    type: str
    reason: str
    body: bytes

    @property
    def time(self) -> str:
        seconds = int(self.place.partition("-")[0]) / 1000
        return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")


class DeadLetters:
    """The dead letters of an instance."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._redis = redis
        self._scripts = Scripts(settings)
        self._keys = {channel: ChannelKeys(settings.instance_id, channel) for channel in settings.channels}

    async def all(self) -> list[DeadLetter]:
        """All of them, by channel, oldest first."""
        letters: list[DeadLetter] = []
        for channel, keys in self._keys.items():
            start = "-"
            while entries := await self._redis.call(
                "XRANGE", keys.dead, start, "+", "COUNT", READ_LETTERS, key=keys.dead
            ):
                letters += [_letter(channel, place, fields) for place, fields in entries]
                start = "(" + letters[-1].place
        return letters

    async def find(self, place: str) -> DeadLetter:
        """The letter of that place; its channel is found.

        Raises:
            LookupError: there is none.
        """
        for letter in await self.all():
            if letter.place == place:
                return letter
        raise LookupError(f"there is no dead letter {place}")

    async def retry(self, letter: DeadLetter) -> None:
        """Gives it to the workers once more, as a new job."""
        lane = TYPES[letter.type].lane if letter.type in TYPES else Lane.LIGHT
        keys = self._keys[letter.channel].for_script(lane)
        await self._redis.run(self._scripts.retry, keys, (letter.place,))

    async def delete(self, letter: DeadLetter) -> None:
        keys = self._keys[letter.channel].for_script()
        await self._redis.run(self._scripts.discard, keys, (letter.place,))


async def list_letters(letters: DeadLetters, _: Sequence[str]) -> None:
    found = await letters.all()
    for letter in found:
        size = len(letter.body)
        print(f"{letter.place}  {letter.time}  {letter.channel}  {letter.type}  {size} bytes  {letter.reason}")
    print(f"{len(found)} dead letters")


async def show(letters: DeadLetters, places: Sequence[str]) -> None:
    for place in places:
        sys.stdout.buffer.write((await letters.find(place)).body + b"\n")


async def retry(letters: DeadLetters, places: Sequence[str]) -> None:
    for letter in await _chosen(letters, places):
        await letters.retry(letter)
        print(f"{letter.place} is with the workers again")


async def delete(letters: DeadLetters, places: Sequence[str]) -> None:
    for letter in await _chosen(letters, places):
        await letters.delete(letter)
        print(f"{letter.place} is deleted")


async def _chosen(letters: DeadLetters, places: Sequence[str]) -> list[DeadLetter]:
    return await letters.all() if list(places) == ["all"] else [await letters.find(place) for place in places]


ACTS: dict[str, Callable[[DeadLetters, Sequence[str]], Awaitable[None]]] = {
    "list": list_letters,
    "show": show,
    "retry": retry,
    "delete": delete,
}


def main(arguments: Sequence[str], _: Timings = Timings()) -> int:
    parser = argparse.ArgumentParser(prog="gischat dead-letters", description="Jobs that could not be done.")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("list", help="one line for each: place, time, channel, type, size, reason")
    acts.add_parser("show", help="the job itself, as JSON").add_argument("places", nargs="+")
    for act, purpose in (("retry", "give it to the workers once more"), ("delete", "throw it away")):
        acts.add_parser(act, help=purpose).add_argument("places", nargs="+", help="places, or 'all'")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_act(load(), given.act, getattr(given, "places", ())))
    except (SettingsError, LookupError, Unavailable) as error:
        print(f"gischat: {error}", file=sys.stderr)
        return 1
    return 0


async def _act(settings: Settings, act: str, places: Sequence[str]) -> None:
    async with connect(settings.redis_url, name="gischat-dead") as redis:
        await ACTS[act](DeadLetters(settings, redis), places)


def _letter(channel: str, place: bytes, fields: Sequence[bytes]) -> DeadLetter:
    _, type, _, body, reason = fields[1::2]
    return DeadLetter(channel, place.decode(), type.decode(), reason.decode(), body)
