"""`/admin`: moderation over HTTP. Without `ADMIN_TOKEN` there are no such paths.

The log has every action with its moderator and subject, but no message's text.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import msgspec
from marshmallow import Schema, ValidationError

from gischat.broker.client import TOO_BUSY, ConnectionLost
from gischat.broker.entries import ANNOUNCEMENT
from gischat.broker.moderation import Freeze
from gischat.broker.resp_errors import RedisError
from gischat.errors import Unavailable, Uncompliant
from gischat.front.handlers import admin_schemas
from gischat.front.handlers.access_log import request_id
from gischat.front.handlers.base import Problem
from gischat.front.handlers.rest import NOT_PUBLISHED_YET, JsonHandler, details
from gischat.front.services import Services
from gischat.protocol import messages
from gischat.protocol.fields import Identifier
from gischat.protocol.messages import new_id, now

log = logging.getLogger(__name__)

MAX_NAME_LENGTH = 64  # characters of a moderator's name

ACTED = "moderation: %(act)s by '%(moderator)s' from %(address)s"

IN_DOUBT = "It is not known yet whether this was done: look, and do it again if it was not."
WRONG_TOKEN = "The admin token is missing or wrong."


class AdminHandler(JsonHandler):
    """An endpoint for moderators only."""

    def initialize(self, front: Services) -> None:
        super().initialize(front)
        self.moderation = front.moderation

    async def prepare(self) -> None:  # type: ignore[override]  # Tornado awaits it
        super().prepare()
        if seconds := self.front.admin_auth.retry_after(self.address):
            self.set_header("Retry-After", seconds)
            self.answer({"detail": f"Too many wrong tokens. Try again in {seconds} seconds."}, 429)
        elif not self.front.admin_auth.is_authorized(self.request.headers):
            log.warning("a wrong admin token from %s", self.address, extra={"request": request_id(self.request)})
            await self.front.admin_auth.record_failure(self.address)
            self.set_header("WWW-Authenticate", 'Bearer realm="gischat admin"')
            self.answer({"detail": WRONG_TOKEN}, 401)

    @property
    def moderator(self) -> str:
        """The name that the moderator claims."""
        return re.sub(r"[^ -~]", "?", self.request.headers.get("X-Moderator", ""))[:MAX_NAME_LENGTH]

    def require_channel(self, channel: str) -> str:
        """The channel, which must exist."""
        if channel not in self.front.rooms:
            raise Problem(404, f"Channel '{channel}' not registered")
        return channel

    def asked_channels(self) -> list[str]:
        """The channel in the query, or all."""
        channel = self.get_query_argument("channel", None)
        return list(self.front.rooms) if channel is None else [self.require_channel(channel)]

    def read(self, schema: Schema) -> dict[str, Any]:
        """The request's body, validated by the schema."""
        try:
            content: dict[str, Any] = schema.load(msgspec.json.decode(self.request.body, type=dict[str, Any]))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise Problem(422, details(Uncompliant("The body must be a JSON object."))) from None
        except ValidationError as error:
            broken = {name: " ".join(_flat(reasons)) for name, reasons in error.messages_dict.items()}
            raise Problem(422, details(Uncompliant("", broken))) from None
        return content

    async def call_redis(self, channels: Sequence[str], question: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
        """Ask Redis about each of these channels; returns the answers by channel."""
        return await self.act_in_each("", channels, question)

    async def act_in_each(
        self, name: str, channels: Sequence[str], act: Callable[[str], Awaitable[Any]], **facts: Any
    ) -> dict[str, Any]:
        """Do something in each of these channels, log it if it has a name, and return the results by channel."""
        results = await asyncio.gather(*map(act, channels), return_exceptions=True)
        done: dict[str, Any] = {}
        failed: list[str] = []
        in_doubt: list[str] = []
        for channel, result in zip(channels, results, strict=True):
            if not isinstance(result, BaseException):
                done[channel] = result
            elif isinstance(result, ConnectionLost):
                in_doubt.append(channel)
            elif isinstance(result, Unavailable | RedisError | ConnectionError):
                failed.append(channel)
            else:
                raise result
        if name:
            self._log_action(name, channels, [*failed, *in_doubt], facts)
        if in_doubt:
            raise Problem(503, IN_DOUBT + _where(done, failed, in_doubt))
        if failed:
            raise Problem(503, TOO_BUSY + (_where(done, failed, ()) if done else ""))
        return done

    def _log_action(self, act: str, channels: Sequence[str], failed: list[str], facts: dict[str, Any]) -> None:
        fields = {
            "act": act,
            "moderator": self.moderator,
            "address": self.address,
            "channels": "all" if len(channels) == len(self.front.rooms) else list(channels),
            **facts,
            "request": request_id(self.request),
        }
        if failed:
            fields["failed"] = failed
        log.info(ACTED, fields, extra=fields)


class Channels(AdminHandler):
    async def get(self) -> None:
        names = list(self.front.rooms)
        counts = await self.front.user_counts()
        found = await self.call_redis(names, self.moderation.state)
        self.answer([_channel(name, counts[name], found[name].freeze) for name in names])


class Messages(AdminHandler):
    async def get(self, channel: str) -> None:
        found = await self.call_redis([self.require_channel(channel)], lambda name: self.front.rooms[name].stored.get())
        self.answer_json(b"[" + b",".join(found[channel].history) + b"]")

    async def delete(self, channel: str) -> None:
        done = await self.act_in_each(
            "delete all messages", [self.require_channel(channel)], self.moderation.delete_messages
        )
        self.answer({"deleted": done[channel]})


class Message(AdminHandler):
    async def delete(self, channel: str, id: str) -> None:
        self.require_channel(channel)
        if not Identifier.FORM.fullmatch(id):
            raise Problem(404, "A message's id is a UUID.")
        done = await self.act_in_each(
            "delete message", [channel], lambda name: self.moderation.delete_messages(name, [id]), id=id
        )
        if not done[channel]:
            raise Problem(404, f"There is no message {id} in this channel, or not any more.")
        self.answer({"deleted": done[channel]})


class Freezing(AdminHandler):
    async def put(self, channel: str) -> None:
        await self._set(channel, Freeze(now(), self.moderator))

    async def delete(self, channel: str) -> None:
        await self._set(channel, None)

    async def _set(self, channel: str, freeze: Freeze | None) -> None:
        name = "freeze" if freeze else "thaw"
        done = await self.act_in_each(
            name, [self.require_channel(channel)], lambda name: self.moderation.freeze(name, freeze)
        )
        self.answer({"channel": channel, "frozen": freeze is not None, "changed": done[channel]})


class Announcements(AdminHandler):
    async def post(self, channel: str | None = None) -> None:
        channels = list(self.front.rooms) if channel is None else [self.require_channel(channel)]
        asked = self.read(admin_schemas.announcement_request(self.settings_))
        ids = {name: asked.get("id") or new_id() for name in channels}
        await self.act_in_each(
            "announce", channels, lambda name: self._announce(name, ids[name], asked["text"]), ids=ids
        )
        self.answer({"published": [{"channel": name, "id": ids[name]} for name in channels]})

    def _message(self, id: str, text: str) -> messages.Message:
        said = {"id": id, "author": self.settings_.admin_author, "text": text}
        message = self.front.messages.parse(msgspec.json.encode(said), type="text")
        # A job of a type that passes a freeze; it publishes an ordinary text.
        return replace(message, type=ANNOUNCEMENT, author="")

    async def _announce(self, channel: str, id: str, text: str) -> None:
        ending = await self.front.publisher.publish(channel, self._message(id, text))
        if ending is None:
            raise ConnectionLost(NOT_PUBLISHED_YET)
        if ending.is_refusal:
            raise Unavailable(msgspec.json.decode(ending.body)["reason"])


class User(AdminHandler):
    async def delete(self, nickname: str) -> None:
        await self.disconnect(nickname, list(self.front.rooms))

    async def disconnect(self, nickname: str, channels: Sequence[str]) -> None:
        reason = self.get_query_argument("reason", "")[: admin_schemas.MAX_REASON_LENGTH]
        done = await self.act_in_each(
            "disconnect", channels, lambda name: self.moderation.disconnect(name, nickname, reason), nickname=nickname
        )
        if not any(done.values()):
            raise Problem(404, f"Nobody is registered as '{nickname}'.")
        self.answer({"disconnected": [channel for channel, was_there in done.items() if was_there]})


class ChannelUser(User):
    async def delete(self, channel: str, nickname: str) -> None:  # type: ignore[override]  # tornado gives what the path has
        await self.disconnect(nickname, [self.require_channel(channel)])


class Connections(AdminHandler):
    async def get(self) -> None:
        channel = self.get_query_argument("channel", None)
        try:
            roll = await self.moderation.survey(None if channel is None else self.require_channel(channel))
        except (Unavailable, RedisError, ConnectionError):
            raise Problem(503, TOO_BUSY) from None
        connections = [
            {"front": front.front, **msgspec.structs.asdict(one)} for front in roll.fronts for one in front.connections
        ]
        fronts = [{"front": front.front, "host": front.host, "pid": front.pid} for front in roll.fronts]
        self.answer({"connections": connections, "fronts": fronts, "missing": roll.missing})


def _flat(reasons: Any) -> list[str]:
    """The faults of a field; of a list, those of all entries."""
    return list(chain.from_iterable(reasons.values())) if isinstance(reasons, dict) else list(map(str, reasons))


def _where(done: Iterable[str], failed: Iterable[str], in_doubt: Iterable[str]) -> str:
    """The results of an action, by channel."""
    found = {"Done in": done, "Not done in": failed, "Perhaps done in": in_doubt}
    return "".join(f" {what}: {', '.join(channels)}." for what, channels in found.items() if channels)


def _channel(name: str, connections: int, freeze: Freeze | None) -> dict[str, Any]:
    return {
        "name": name,
        "nb_connected_users": connections,
        "frozen": freeze is not None,
        "frozen_since": freeze.since if freeze else None,
        "frozen_by": freeze.by if freeze else None,
    }


ROUTES = (
    (r"/admin/channels", Channels),
    (r"/admin/channels/([^/]+)/messages", Messages),
    (r"/admin/channels/([^/]+)/messages/([^/]+)", Message),
    (r"/admin/channels/([^/]+)/freeze", Freezing),
    (r"/admin/channels/([^/]+)/announcements", Announcements),
    (r"/admin/channels/([^/]+)/users/([^/]+)", ChannelUser),
    (r"/admin/announcements", Announcements),
    (r"/admin/users/([^/]+)", User),
    (r"/admin/connections", Connections),
)
