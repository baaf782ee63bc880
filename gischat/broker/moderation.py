"""Moderation of a channel: bans, freezes, deleted messages, disconnections, surveys of who is connected.

Redis stores the moderation state with a version. A front that changes the state passes the version that it knows: if
that of Redis is lower, Redis has lost changes, which the front restores first.
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
    """A channel is read-only."""

    since: int  # seconds since the epoch
    by: str  # the name that the moderator gave; may be empty


class Ban(msgspec.Struct, frozen=True):
    """A ban of a network or of a nickname."""

    kind: str  # address or nickname
    subject: str
    since: int  # seconds since the epoch
    until: int
    by: str
    reason: str  # shown to banned users; may be empty
    is_everywhere: bool  # in all channels; otherwise in this one

    @property
    def id(self) -> str:
        """Its subject, as a path segment. Addresses contain a dot or a colon, which nicknames cannot contain."""
        return folded(self.subject.replace("/", "-"))

    @property
    def user_message(self) -> str:
        """The text for a banned user."""
        until = datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
        whom = "Your address" if self.kind == "address" else f"The nickname {excerpt(self.subject)}"
        return f"{whom} is banned until {until}." + (f" {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class ModerationState:
    """A channel's moderation state, with the number of its last change."""

    version: int = 0
    freeze: Freeze | None = None
    bans: tuple[Ban, ...] = ()
    keys: tuple[AccessKey, ...] = ()


class ModerationResult(StrEnum):
    """The result of a change of the moderation state."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"  # too many bans or keys, no such ban or key, or the channel was frozen or thawed before
    STATE_LOST = "state_lost"  # Redis lost changes that this front knows: see `restore_moderation`


class Moderation:
    """Bans, freezes, keys, deletions and surveys of an instance, for one participant; `front` is its id."""

    def __init__(self, namespace: Namespace, front: str, redis: Redis, bulk: Redis) -> None:
        self._scripts = namespace.scripts
        self._keys = namespace.keys
        self._answer_milliseconds = int(namespace.timings.survey_answer * 1000)
        self._front = front
        self._redis = redis
        self._bulk = bulk

    async def moderation_state(self, channel: str) -> ModerationState:
        """Read the channel's bans, freeze and keys."""
        version, freeze, bans, keys = await self._run(self._scripts.moderation_state, channel)
        return ModerationState(
            version,
            msgspec.json.decode(freeze, type=Freeze) if freeze else None,
            tuple(msgspec.json.decode(ban, type=Ban) for ban in bans),
            tuple(msgspec.json.decode(key, type=AccessKey) for key in keys),
        )

    async def restore_moderation(self, channel: str, known: ModerationState) -> bool:
        """Write the moderation state that this front knows, if Redis lost some of it; returns whether it had."""
        bans, keys = _arguments(known.bans), _arguments(known.keys)
        freeze = msgspec.json.encode(known.freeze) if known.freeze else b""
        arguments = (known.version, freeze, len(bans), *bans, *keys)
        return bool(await self._run(self._scripts.restore_moderation, channel, *arguments))

    async def ban(self, channel: str, known: int, ban: Ban) -> ModerationResult:
        """Add a ban, or replace one of the same id; UNCHANGED if there are too many.

        Args:
            known: the version of the moderation state that this front knows; likewise in the following methods.
        """
        return await self._change(self._scripts.ban, channel, known, *_arguments([ban]))

    async def unban(self, channel: str, known: int, id: str) -> ModerationResult:
        """Lift a ban; UNCHANGED if there is none."""
        return await self._change(self._scripts.unban, channel, known, id)

    async def grant_key(self, channel: str, known: int, key: AccessKey) -> ModerationResult:
        """Add a key that opens the channel; UNCHANGED if there are too many."""
        return await self._change(self._scripts.grant_key, channel, known, *_arguments([key]))

    async def revoke_key(self, channel: str, known: int, id: str) -> ModerationResult:
        """Revoke a key; UNCHANGED if there is none."""
        return await self._change(self._scripts.revoke_key, channel, known, id)

    async def freeze(self, channel: str, known: int, freeze: Freeze | None) -> ModerationResult:
        """Freeze a channel, or thaw it if `freeze` is None; UNCHANGED if that was its state."""
        return await self._change(self._scripts.freeze, channel, known, msgspec.json.encode(freeze) if freeze else b"")

    async def delete_messages(self, channel: str, ids: Sequence[str], *, again: bool = False) -> int:
        """Delete messages by their ids, or all of the channel if there are no ids; returns the number deleted.

        Args:
            again: repeat a deletion that this front knows of, and that Redis may have lost.
        """
        return int(await self._run(self._scripts.delete_messages, channel, int(again), *ids))

    async def disconnect(self, channel: str, nickname: str, order: bytes) -> bool:
        """Publish an order to disconnect the connection registered under a nickname; False if there is none."""
        return bool(await self._run(self._scripts.disconnect, channel, folded(nickname), order))

    async def start_survey(self, channel: str, question: bytes) -> list[str]:
        """Publish a survey request to all fronts; returns the fronts that should answer."""
        return [front.decode() for front in await self._run(self._scripts.start_survey, channel, question)]

    async def answer_survey(self, channel: str, call: str, answer: bytes) -> None:
        """Store this front's answer to the survey of the id `call`."""
        key = self._keys[channel].survey(call, self._front)
        await self._bulk.call("SET", key, answer, "PX", self._answer_milliseconds, key=key)

    async def survey_answers(self, channel: str, call: str, fronts: Sequence[str]) -> list[bytes | None]:
        """Read these fronts' answers to a survey; None for each that is missing yet."""
        keys = [self._keys[channel].survey(call, front) for front in fronts]
        return list(await self._bulk.call("MGET", *keys, key=keys[0])) if keys else []

    async def _change(self, script: Script, channel: str, *arguments: Argument) -> ModerationResult:
        return ModerationResult((await self._run(script, channel, *arguments)).decode())

    async def _run(self, script: Script, channel: str, *arguments: Argument) -> Any:
        return await self._redis.run(script, self._keys[channel].for_moderation(), arguments)


def _arguments(entries: Iterable[Ban | AccessKey]) -> list[Argument]:
    """Flatten to script arguments: of each entry its id, its end in milliseconds, and its JSON."""
    return [argument for one in entries for argument in (one.id, one.until * 1000, msgspec.json.encode(one))]
