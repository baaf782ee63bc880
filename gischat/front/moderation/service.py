"""Moderation: a moderator's request reaches any front, and all fronts execute it.

Redis stores a channel's moderation state: bans, freeze and keys. Each front has a copy, which it reads at its start and
again after each order `moderation` in the channel's outbox. All other requests are orders of their own. If Redis loses
moderation state, fronts restore it; the newest version wins.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from gischat.broker.access_keys import AccessKey
from gischat.broker.broker import Broker
from gischat.broker.client import TOO_BUSY
from gischat.broker.moderation import Ban, Freeze, ModerationResult, ModerationState
from gischat.broker.orders import Connected, Deletion, Disconnection, FrontConnections, SurveyRequest, survey_answer
from gischat.broker.resp_errors import WRONG_TYPE, RedisError
from gischat.errors import Unavailable
from gischat.front.auth.bans import Bans
from gischat.front.auth.channel_auth import ChannelAuth
from gischat.front.channel.join_buffer import Member
from gischat.front.channel.room import Room
from gischat.front.close_status import DISCONNECTED
from gischat.front.dispatch.dispatcher import Dispatcher
from gischat.front.moderation.ended_keys import EndedKeys
from gischat.protocol.messages import folded, new_id
from gischat.settings import Settings
from gischat.timings import Timings

log = logging.getLogger(__name__)

MAX_RESTORES = 5  # per request: more than there are fronts with newer versions
MAX_DELETED_IDS = 1000  # remembered per channel, to repeat their deletion if Redis loses it

COME_BACK = "To come back, disconnect and connect again."


class SurveyResult(msgspec.Struct, frozen=True):
    """The answers of all fronts."""

    fronts: list[FrontConnections]
    missing: list[str]  # fronts with a valid lease that have not answered in time


class ModerationService:
    """Moderation on one front."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        rooms: Mapping[str, Room],
        dispatcher: Dispatcher,
        channel_auth: ChannelAuth,
        timings: Timings = Timings(),
    ) -> None:
        self._front = broker.front
        self._moderation = broker.moderation
        self._rooms = rooms
        self._dispatcher = dispatcher
        self._ended_keys = EndedKeys(rooms, channel_auth, timings)
        self._timings = timings
        self._reserved = settings.admin_author if settings.admin_token else ""
        self._states = dict.fromkeys(rooms, ModerationState())
        self._deleted: dict[str, OrderedDict[str, None]] = {channel: OrderedDict() for channel in rooms}
        self._stale: set[str] = set()  # channels whose moderation state has to be read
        self._readers: dict[str, asyncio.Task[None]] = {}  # tasks that read it, by channel
        self._background_tasks: set[asyncio.Task[None]] = set()  # references that keep them alive
        for room in rooms.values():
            for type, handler in CONTROL_HANDLERS.items():
                room.control_handlers[type] = partial(handler, self, room)

    async def load(self) -> None:
        """Read all channels' moderation state, before the first connection; wait for Redis."""
        for channel, room in self._rooms.items():
            while True:
                try:
                    self._adopt(room, await self._moderation.moderation_state(channel))
                    break
                except (Unavailable, RedisError) as error:
                    if str(error).startswith(WRONG_TYPE):  # the channel accepts nothing until it is repaired
                        self.reload(room)
                        break
                    log.debug("waiting for redis")
                    await asyncio.sleep(self._timings.retry)
        await self._ban_in_new_channels()

    async def _ban_in_new_channels(self) -> None:
        """Ban in new channels what is banned in all channels."""
        everywhere = {ban.id: ban for known in self._states.values() for ban in known.bans if ban.is_everywhere}
        new = [channel for channel, known in self._states.items() if known.version == 0]
        for channel in new if everywhere else ():
            for ban in everywhere.values():
                with contextlib.suppress(Unavailable):
                    await self.ban(channel, ban)
            self._adopt(self._rooms[channel], await self._moderation.moderation_state(channel))

    # Moderators' requests

    async def ban(self, channel: str, ban: Ban) -> bool:
        """Ban in a channel; False if there are too many bans."""
        return await self._change(channel, lambda known: self._moderation.ban(channel, known, ban))

    async def unban(self, channel: str, id: str) -> bool:
        """Lift a ban in a channel; False if there is none."""
        return await self._change(channel, lambda known: self._moderation.unban(channel, known, id))

    async def grant_key(self, channel: str, key: AccessKey) -> bool:
        """Let a key open a channel; False if there are too many."""
        return await self._change(channel, lambda known: self._moderation.grant_key(channel, known, key))

    async def revoke_key(self, channel: str, id: str) -> bool:
        """Revoke a key in a channel; False if there is none."""
        return await self._change(channel, lambda known: self._moderation.revoke_key(channel, known, id))

    async def freeze(self, channel: str, freeze: Freeze | None) -> bool:
        """Freeze a channel, or thaw it if `freeze` is None; False if that was its state."""
        return await self._change(channel, lambda known: self._moderation.freeze(channel, known, freeze))

    async def delete_messages(self, channel: str, ids: Iterable[str] = ()) -> int:
        """Delete messages by their ids, or all of the channel if there are none; returns their number."""
        return await self._moderation.delete_messages(channel, list(ids))

    async def disconnect(self, channel: str, nickname: str, reason: str) -> bool:
        """Disconnect the connection registered under a nickname; False if there is none."""
        text = f"{DISCONNECTED} {reason}".strip()
        return await self._moderation.disconnect(channel, nickname, msgspec.json.encode(Disconnection(nickname, text)))

    async def state(self, channel: str) -> ModerationState:
        """Read a channel's moderation state."""
        return await self._moderation.moderation_state(channel)

    async def survey(self, channel: str | None = None) -> SurveyResult:
        """Collect the connections of all fronts, in one channel or in all."""
        through = channel or next(iter(self._rooms))
        call = new_id()
        fronts = await self._moderation.start_survey(through, msgspec.json.encode(SurveyRequest(call, channel)))
        answers: list[bytes | None] = [None] * len(fronts)
        ends = self._now() + self._timings.survey
        while None in answers and self._now() < ends:
            await asyncio.sleep(self._timings.survey_poll)
            answers = await self._moderation.survey_answers(through, call, fronts)
        return SurveyResult(
            [msgspec.json.decode(answer, type=FrontConnections) for answer in answers if answer is not None],
            [front for front, answer in zip(fronts, answers, strict=True) if answer is None],
        )

    async def _change(self, channel: str, act: Callable[[int], Awaitable[ModerationResult]]) -> bool:
        """Change a channel's moderation state; restore it first if Redis has lost some of it."""
        for _ in range(MAX_RESTORES):
            result = await act(self._states[channel].version)
            if result is not ModerationResult.STATE_LOST:
                return result is ModerationResult.CHANGED
            await self._restore(channel)
        raise Unavailable(TOO_BUSY)

    # Orders, executed by every front

    def _on_deletion(self, room: Room, body: bytes) -> None:
        deletion = msgspec.json.decode(body, type=Deletion)
        self._dispatcher.delete_messages(room.channel, None if deletion.all else set(deletion.ids))
        room.recent.delete_messages(None if deletion.all else {id.encode() for id in deletion.ids})
        deleted = self._deleted[room.channel]
        deleted.update(dict.fromkeys(deletion.ids))
        while len(deleted) > MAX_DELETED_IDS:
            deleted.popitem(last=False)

    def _on_disconnection(self, room: Room, body: bytes) -> None:
        closing = msgspec.json.decode(body, type=Disconnection)
        for member in list(room.connections.values()):
            if member.nickname is not None and folded(member.nickname) == folded(closing.nickname):
                member.kick(1008, closing.reason, f"{closing.reason} {COME_BACK}")

    def _on_survey(self, room: Room, body: bytes) -> None:
        request = msgspec.json.decode(body, type=SurveyRequest)
        rooms = self._rooms.values() if request.channel is None else [room]
        present = [
            Connected(member.id, one.channel, member.nickname, member.address, member.connected_at)
            for one in rooms
            for member in one.connections.values()
        ]
        answer = survey_answer(self._front, present)
        self._run_in_background(self._answer(room.channel, request.call, answer))

    async def _answer(self, channel: str, call: str, answer: bytes) -> None:
        try:
            await self._moderation.answer_survey(channel, call, answer)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.warning("a survey could not be answered: %s", error)  # the result lists this front as missing

    # Moderation state

    def reload(self, room: Room, _: bytes = b"") -> None:
        """Read a channel's moderation state; a request during a read causes another read."""
        self._stale.add(room.channel)
        if room.channel not in self._readers:
            self._readers[room.channel] = asyncio.create_task(self._read(room))

    async def _read(self, room: Room) -> None:
        try:
            await self._read_while_stale(room)
        finally:
            # No await in between: a later request needs a task of its own.
            del self._readers[room.channel]

    async def _read_while_stale(self, room: Room) -> None:
        while room.channel in self._stale:
            self._stale.discard(room.channel)
            try:
                state = await self._moderation.moderation_state(room.channel)
                if state.version < self._states[room.channel].version:
                    await self._restore(room.channel)
                else:
                    self._adopt(room, state)
            except (ConnectionError, Unavailable, RedisError) as error:
                log.debug("the moderation state could not be read: %s", error)
                self._stale.add(room.channel)
                await asyncio.sleep(self._timings.retry)

    async def _restore(self, channel: str) -> None:
        """Write this front's version to Redis, or adopt that of another front; all fronts then read it."""
        if await self._moderation.restore_moderation(channel, self._states[channel]):
            log.warning("redis has lost a channel's moderation state: restored")
        self._adopt(self._rooms[channel], await self._moderation.moderation_state(channel))

    def _adopt(self, room: Room, state: ModerationState) -> None:
        self._states[room.channel] = state
        room.bans = Bans(state.bans, reserved=self._reserved)
        for member in list(room.connections.values()):
            if (reason := _ban_reason(room.bans, member)) is not None:
                member.kick(1008, reason)
        self._ended_keys.adopt(room.channel, state.keys)

    def restore_lost(self, room: Room) -> None:
        """After a loss in Redis, restore the moderation state, and repeat recent deletions."""
        self.reload(room)
        if deleted := list(self._deleted[room.channel]):
            self._run_in_background(self._repeat_deletion(room.channel, deleted))

    async def _repeat_deletion(self, channel: str, ids: list[str]) -> None:
        try:
            await self._moderation.delete_messages(channel, ids, again=True)
        except (ConnectionError, Unavailable, RedisError) as error:
            log.error("a deletion could not be repeated: %s", error)

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task that nothing awaits."""
        task = asyncio.create_task(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


CONTROL_HANDLERS: Mapping[str, Callable[[ModerationService, Room, bytes], Any]] = {
    "moderation": ModerationService.reload,
    "deleted": ModerationService._on_deletion,
    "disconnect": ModerationService._on_disconnection,
    "survey": ModerationService._on_survey,
}


def _ban_reason(bans: Bans, member: Member) -> str | None:
    """Why a connection must be closed; None if it may stay."""
    ban = bans.of_address(member.address)
    if ban is not None:
        return ban.user_message
    return bans.ban_reason(member.nickname) if member.nickname is not None else None
