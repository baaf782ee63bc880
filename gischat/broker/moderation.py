"""Moderation of a channel: bans, freezes, deleted messages, disconnections, surveys of who is connected.

The moderation state lies in Redis, under a version. A front that changes it says which version it knows: where Redis
has a lower one it has lost something, which has to be restored first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from gischat.broker.access_keys import AccessKey
from gischat.broker.client import Redis
from gischat.broker.namespace import Namespace
from gischat.broker.scripts import Script
from gischat.broker.transport import Argument
from gischat.protocol.messages import folded
from gischat.protocol.wording import excerpt


class Freeze(msgspec.Struct, frozen=True):
    """Nobody may say anything in the channel."""

    since: int  # seconds since the epoch
    by: str  # whoever a moderator says to be; may be empty


class Ban(msgspec.Struct, frozen=True):
    """A network that nobody may come from, or a nickname that nobody may bear."""

    kind: str  # address or nickname
    subject: str
    since: int  # seconds since the epoch
    until: int
    by: str
    reason: str  # for whoever is banned; may be empty
    is_everywhere: bool  # in every channel; if not, in this one

    @property
    def id(self) -> str:
        """Its subject, fit for a path. An address holds a dot or a colon, which no nickname does."""
        return folded(self.subject.replace("/", "-"))

    @property
    def user_message(self) -> str:
        """What is said to whoever is banned."""
        until = datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
        whom = "Your address" if self.kind == "address" else f"The nickname {excerpt(self.subject)}"
        return f"{whom} is banned until {until}." + (f" {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class ModerationState:
    """A channel's, after the change of that number."""

    version: int = 0
    freeze: Freeze | None = None
    bans: tuple[Ban, ...] = ()
    keys: tuple[AccessKey, ...] = ()


class ModerationResult(StrEnum):
    """What comes of a change of the moderation state."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"  # too many bans or keys, or no such ban or key, or the channel was frozen or thawed
    STATE_LOST = "state_lost"  # Redis has lost what this front knows: see `restore`


class Moderation:
    """The moderation of an instance, for the participant `front`."""

    def __init__(self, namespace: Namespace, front: str, redis: Redis, bulk: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._answer_milliseconds = int(namespace.timings.survey_answer * 1000)
        self._front = front
        self._redis = redis
        self._bulk = bulk

    async def moderation_state(self, channel: str) -> ModerationState:
        """The channel's bans, its freeze and its keys."""
        version, freeze, bans, keys = await self._run(self._scripts.moderation_state, channel)
        return ModerationState(
            version,
            msgspec.json.decode(freeze, type=Freeze) if freeze else None,
            tuple(msgspec.json.decode(ban, type=Ban) for ban in bans),
            tuple(msgspec.json.decode(key, type=AccessKey) for key in keys),
        )

    async def restore_moderation(self, channel: str, known: ModerationState) -> bool:
        """Sets the moderation state as this front knows it, if Redis has lost some of it; whether it had."""
        bans, keys = _arguments(known.bans), _arguments(known.keys)
        freeze = msgspec.json.encode(known.freeze) if known.freeze else b""
        arguments = (known.version, freeze, len(bans), *bans, *keys)
        return bool(await self._run(self._scripts.restore_moderation, channel, *arguments))

    async def ban(self, channel: str, known: int, ban: Ban) -> ModerationResult:
        """Bans, in place of an earlier ban of the same id; UNCHANGED when there are too many.

        Args:
            known: the version of the moderation state that this front knows; so in those that follow.
        """
        return await self._change(self._scripts.ban, channel, known, *_arguments([ban]))

    async def unban(self, channel: str, known: int, id: str) -> ModerationResult:
        """Lifts a ban; UNCHANGED when there is none."""
        return await self._change(self._scripts.unban, channel, known, id)

    async def grant_key(self, channel: str, known: int, key: AccessKey) -> ModerationResult:
        """Lets a key open the channel; UNCHANGED when there are too many."""
        return await self._change(self._scripts.grant_key, channel, known, *_arguments([key]))

    async def revoke_key(self, channel: str, known: int, id: str) -> ModerationResult:
        """Ends a key; UNCHANGED when there is none."""
        return await self._change(self._scripts.revoke_key, channel, known, id)

    async def freeze(self, channel: str, known: int, freeze: Freeze | None) -> ModerationResult:
        """Freezes a channel or, with None, thaws it; UNCHANGED when it was so before."""
        return await self._change(self._scripts.freeze, channel, known, msgspec.json.encode(freeze) if freeze else b"")

    async def delete_messages(self, channel: str, ids: Sequence[str], *, again: bool = False) -> int:
        """Takes messages back, all of the channel when no ids are given; returns how many there were.

        Args:
            again: this front has heard that they were deleted, and Redis may have lost it.
        """
        return int(await self._run(self._scripts.delete_messages, channel, int(again), *ids))

    async def disconnect(self, channel: str, nickname: str, order: bytes) -> bool:
        """Has every front told to disconnect who is registered under a nickname; False when nobody is."""
        return bool(await self._run(self._scripts.disconnect, channel, folded(nickname), order))

    async def start_survey(self, channel: str, question: bytes) -> list[str]:
        """Asks every front for its connections; returns the fronts that should answer."""
        return [front.decode() for front in await self._run(self._scripts.start_survey, channel, question)]

    async def answer_survey(self, channel: str, call: str, answer: bytes) -> None:
        """This front's answer to a survey."""
        key = self._keys[channel].survey(call, self._front)
        await self._bulk.call("SET", key, answer, "PX", self._answer_milliseconds, key=key)

    async def survey_answers(self, channel: str, call: str, fronts: Sequence[str]) -> list[bytes | None]:
        """What these fronts have answered; None for those that have not yet."""
        keys = [self._keys[channel].survey(call, front) for front in fronts]
        return list(await self._bulk.call("MGET", *keys, key=keys[0])) if keys else []

    async def _change(self, script: Script, channel: str, *arguments: Argument) -> ModerationResult:
        return ModerationResult((await self._run(script, channel, *arguments)).decode())

    async def _run(self, script: Script, channel: str, *arguments: Argument) -> Any:
        return await self._redis.run(script, self._keys[channel].for_moderation(), arguments)


def _arguments(entries: Iterable[Ban | AccessKey]) -> list[Argument]:
    """Of each its id, its end in milliseconds, and itself."""
    return [argument for one in entries for argument in (one.id, one.until * 1000, msgspec.json.encode(one))]
