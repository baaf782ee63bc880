"""`/admin/bans`: bans of nicknames, addresses and networks."""

import math
import time
from typing import Any

import msgspec

from gischat.broker.moderation import Ban
from gischat.front.auth.bans import ban_subject, network_of
from gischat.front.handlers import admin_schemas
from gischat.front.handlers.admin import AdminHandler
from gischat.front.handlers.base import Problem
from gischat.protocol.messages import now


class Bans(AdminHandler):
    async def get(self) -> None:
        found = await self.call_redis(list(self.front.rooms), self.moderation.state)
        bans = {
            (ban.id, None if ban.is_everywhere else channel): ban
            for channel, restrictions in found.items()
            for ban in restrictions.bans
        }
        self.answer([_shown(ban, channel) for (_, channel), ban in bans.items()])

    async def post(self) -> None:
        asked = self.read(admin_schemas.ban_request(self.settings_))
        channel = asked["channel"]
        ban = _ban(asked, self.moderator)
        done = await self.act_in_each(
            "ban",
            list(self.front.rooms) if channel is None else [channel],
            lambda name: self.moderation.ban(name, ban),
            kind=ban.kind,
            subject=ban.subject,
            seconds=asked["seconds"],
        )
        if not all(done.values()):
            raise Problem(409, "There are too many bans: lift some, or ban a network instead of its addresses.")
        self.answer(_shown(ban, channel), 201)


class BanById(AdminHandler):
    async def delete(self, id: str) -> None:
        done = await self.act_in_each(
            "lift ban", self.asked_channels(), lambda name: self.moderation.unban(name, id), ban=id
        )
        if not any(done.values()):
            raise Problem(404, f"There is no ban '{id}', or not any more.")
        self.answer({"lifted": id})


def _ban(asked: dict[str, Any], by: str) -> Ban:
    kind = "address" if "address" in asked else "nickname"
    subject = ban_subject(network_of(asked["address"])) if kind == "address" else asked["nickname"]
    # Whole seconds, rounded up
    until = math.ceil(time.time() + asked["seconds"])
    return Ban(kind, subject, now(), until, by, asked["reason"], asked["channel"] is None)


def _shown(ban: Ban, channel: str | None) -> dict[str, Any]:
    content = msgspec.structs.asdict(ban)
    del content["is_everywhere"]
    return {"id": ban.id, "channel": channel, **content}


ROUTES = ((r"/admin/bans", Bans), (r"/admin/bans/([^/]+)", BanById))
