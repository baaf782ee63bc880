"""`gischat dead-letters`: jobs that failed, or what could not be posted, for the operator to see, retry or delete.

People's words are shown by `show` alone, which is asked for one letter.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gischat.broker.dead_letters import DeadLetter, DeadLetters
from gischat.broker.discovery import connect
from gischat.broker.namespace import Namespace
from gischat.errors import Unavailable
from gischat.hooks.letters import HookLetter, HookLetters
from gischat.settings import Settings, SettingsError, load
from gischat.timings import Timings

Letters = DeadLetters | HookLetters
Letter = DeadLetter | HookLetter


async def list_letters(letters: Letters, _: Sequence[str]) -> None:
    found = await letters.all()
    for letter in found:
        size = len(letter.body)
        print(f"{letter.place}  {letter.time}  {letter.channel}  {letter.type}  {size} bytes  {letter.reason}")
    print(f"{len(found)} dead letters")


async def show(letters: Letters, places: Sequence[str]) -> None:
    for letter in await _chosen(letters, places):
        sys.stdout.buffer.write(letter.body + b"\n")


async def retry(letters: Letters, places: Sequence[str]) -> None:
    for letter in await _chosen(letters, places):
        await letters.retry(letter)  # type: ignore[arg-type]  # these are its own
        print(f"{letter.place} is on its way again" if isinstance(letter, DeadLetter) else f"{letter.place} was posted")


async def delete(letters: Letters, places: Sequence[str]) -> None:
    for letter in await _chosen(letters, places):
        await letters.delete(letter)  # type: ignore[arg-type]
        print(f"{letter.place} is deleted")


async def _chosen(letters: Letters, places: Sequence[str]) -> Sequence[Letter]:
    """The letters at these places, in any channel, or all.

    Raises:
        LookupError: there is none at a place.
    """
    known: Sequence[Letter] = await letters.all()
    if list(places) == ["all"]:
        return known
    found = {letter.place: letter for letter in known}
    for place in places:
        if place not in found:
            raise LookupError(f"there is no dead letter {place}")
    return [found[place] for place in places]


ACTS: dict[str, Callable[[Any, Sequence[str]], Awaitable[None]]] = {
    "list": list_letters,
    "show": show,
    "retry": retry,
    "delete": delete,
}


def main(arguments: Sequence[str], _: Timings = Timings()) -> int:
    parser = argparse.ArgumentParser(prog="gischat dead-letters", description="Jobs that could not be done.")
    parser.add_argument("--hooks", action="store_true", help="what could not be posted to outgoing hooks, instead")
    acts = parser.add_subparsers(dest="act", required=True)
    acts.add_parser("list", help="one line for each: place, time, channel, type, size, reason")
    acts.add_parser("show", help="the job itself, as JSON").add_argument("places", nargs="+")
    for act, purpose in (("retry", "give it to the workers, or post it, once more"), ("delete", "throw it away")):
        acts.add_parser(act, help=purpose).add_argument("places", nargs="+", help="places, or 'all'")
    given = parser.parse_args(arguments)
    try:
        asyncio.run(_act(load(), given.act, getattr(given, "places", ()), of_hooks=given.hooks))
    except (SettingsError, LookupError, Unavailable) as error:
        print(f"gischat: {error}", file=sys.stderr)
        return 1
    return 0


async def _act(settings: Settings, act: str, places: Sequence[str], *, of_hooks: bool) -> None:
    async with connect(settings.redis_url, name="gischat-dead") as redis:
        letters = HookLetters(settings, redis) if of_hooks else DeadLetters(Namespace(settings), redis)
        await ACTS[act](letters, places)
