"""`/admin/keys`: keys that open private channels; see `gischat.front.auth.access_keys`."""

import math
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from gischat.broker.access_keys import ID_LENGTH, AccessKey, access_key, new_secret
from gischat.front.auth.access_keys import PREFIX
from gischat.front.handlers import admin_schemas
from gischat.front.handlers.admin import AdminHandler
from gischat.front.handlers.base import Problem
from gischat.protocol.messages import now


class Keys(AdminHandler):
    async def get(self) -> None:
        found = await self.call_redis(list(self.front.rooms), self.moderation.state)
        channels: defaultdict[AccessKey, list[str]] = defaultdict(list)
        for channel, state in found.items():
            for key in state.keys:
                channels[key].append(channel)
        by_end = sorted(channels, key=lambda key: key.until)
        self.answer([_shown(key, channels[key]) for key in by_end])

    async def post(self) -> None:
        request = self.read(admin_schemas.key_request(self.settings_))
        secret, channels = new_secret(), list(dict.fromkeys(request["channels"]))
        until = math.ceil(time.time() + request["seconds"])
        key = access_key(secret, since=now(), until=until, by=self.moderator, note=request["note"])
        # If a channel fails, the key's secret is not returned, so that the key in the others is useless.
        done = await self.act_in_each(
            "make key",
            channels,
            lambda name: self.moderation.grant_key(name, key),
            key=key.id,
            seconds=request["seconds"],
        )
        if not all(done.values()):
            raise Problem(409, "There are too many keys: revoke some.")
        self.answer({**_shown(key, channels), "key": secret, "path": PREFIX + secret}, 201)


class KeyById(AdminHandler):
    async def delete(self, id: str) -> None:
        done = await self.act_in_each(
            "revoke key", list(self.front.rooms), lambda name: self.moderation.revoke_key(name, id), key=id[:ID_LENGTH]
        )
        if not any(done.values()):
            raise Problem(404, "There is no key of this id, or not any more.")
        self.answer({"revoked": id})


def _shown(key: AccessKey, channels: Iterable[str]) -> dict[str, Any]:
    """A key as moderators see it, without its hash."""
    return {
        "id": key.id,
        "channels": list(channels),
        "since": key.since,
        "until": key.until,
        "by": key.by,
        "note": key.note,
    }


ROUTES = ((r"/admin/keys", Keys), (r"/admin/keys/([^/]+)", KeyById))
