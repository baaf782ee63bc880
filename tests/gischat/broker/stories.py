"""Stories of who is there: fronts and their connections act, in a real Valkey, and publications follow.

A story is of lines `who does what: what is published`. A connection is its front and its number: a1. What is done again
under the same id has a mark behind it: `a1 wants jane *`. Who has no number uses HTTP: `bot says hello`. Others are
`given a1 jane, a2 jane`, of which each wants a nickname, and `= jane a1, joan b2`, which says who is registered.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gischat.broker.entries import Outcome, Publication
from gischat.protocol.messages import id_of, new_id
from tests.gischat.broker.wire import ALIVE, CHANNEL, DEAD, Wire, assert_presence_is_right, encoded, shown
from worker.effects import Count, Exit, Publish, Register, Restore


def told(stories: str) -> Callable[[Any], Any]:
    """Lets a test take one story after the other."""
    return pytest.mark.parametrize("story", list(_split(stories)))


def _split(stories: str) -> Iterator[object]:
    for story in stories.strip().split("\n\n"):
        title, _, lines = story.partition("\n")
        yield pytest.param(lines, id=title.removeprefix("# "))


async def play(wire: Wire, story: str) -> None:
    for front in ("a", "b", "ab"):
        await wire.renew(front)
    same_id = new_id()
    for line in story.splitlines():
        if line.startswith("given "):
            for who, nickname in _pairs(line.removeprefix("given ")):
                await _act(wire, who, f"wants {nickname}", new_id())
            await wire.news()
        elif line.startswith("="):
            held = await wire.hash("nicknames")
            found = [(said.split()[1], address.replace("/", "")) for address, said in held.items()]
            assert sorted(found) == sorted(_pairs(line.removeprefix("=")))
            assert sorted(await wire.front.presence.nicknames(CHANNEL)) == sorted(nickname for nickname, _ in found)
            await assert_presence_is_right(wire)
        else:
            what, _, expected = line.partition(": ")
            who, _, does = what.partition(" ")
            id = same_id if does.endswith(" *") else new_id()
            await _act(wire, who, does.removesuffix(" *"), id)
            assert (", ".join(_said(one, id) for one in await wire.news()) or "nothing") == expected, line


def _pairs(text: str) -> list[tuple[str, ...]]:
    return [tuple(pair.split()) for pair in text.split(",") if pair.strip()]


async def _act(wire: Wire, who: str, does: str, id: str) -> None:
    front, digits = who.rstrip("0123456789"), re.sub("[a-z]", "", who)
    connection = int(digits or 0)
    job: dict[str, Any] = {"front": front, "connection": connection, "id": id}
    *words, last = does.split()
    match " ".join(words):
        case "wants":
            await wire.end(Register(last), encoded("newcomer", id=id, newcomer=last), **job)
        case "gives up":
            await wire.end(Exit(last), encoded("exiter", id=id, exiter=last), **job)
        case "restores":
            await wire.end(Restore(last), **job)
        case "counts":
            await wire.end(Count(int(last)), **job)
        case "says":
            body = encoded("text", id=id, text=last)
            sender = "" if digits else f"http/{who}"
            held = await wire.hold(replace(wire.job(body, **job), sender=sender))
            await wire.worker.committer.commit(held, Publish(body))
        case "loses":
            await wire.delete(wire.key(last))
        case "is" if last == "reaped":
            await wire.worker.presence.reap(CHANNEL, front)
        case "is" if last in ("repaired", "checked"):
            await wire.worker.presence.repair_nicknames(CHANNEL, DEAD, is_thorough=last == "checked")
        case "has no" if last == "process":
            await wire.redis.call("ZADD", wire.keys.fronts, "XX", 0, front, key=wire.keys.fronts)
        case "" if last == "leaves":
            await wire.leave(connection, front)
        case "" if last == "resigns":
            await wire.new_front(front).presence.release_lease(CHANNEL)
        case "" if last in ("lives", "expires"):
            await wire.renew(front, ALIVE if last == "lives" else DEAD)
        case _:
            raise ValueError(does)


def _said(one: Publication, id: str) -> str:
    """A publication in a word or two: `newcomer jane to b1` is a grant."""
    if one.outcome is Outcome.CONTROL:
        return one.type
    if not one.body:
        return one.outcome.value
    type_, value = shown(one)
    if one.outcome is Outcome.REFUSED:
        return "refused"
    assert one.is_broadcast is (one.outcome not in (Outcome.RESTORED, Outcome.DUPLICATE))
    word = one.outcome.value if one.outcome in (Outcome.RESTORED, Outcome.DUPLICATE) else type_
    to = f" to {one.to.replace('/', '')}" if one.outcome is Outcome.GRANTED else ""
    return f"{word} {value}{to}" + " under another id" * (type_ == "text" and id_of(one.body) != id.encode())
