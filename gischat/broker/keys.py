"""Every key in Redis.

All keys of a channel have the same hash tag, so that a script's keys are in one slot of a Redis Cluster, while channels
are distributed over the slots. Scripts get all keys of a channel, in the order of `for_script`; `prelude.lua` begins
with their names there.
"""

import binascii
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gischat.protocol.messages import Lane

GROUP = "workers"  # the consumer group of each inbox
SLOTS = 16_384  # of a Redis Cluster


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """The keys of one channel."""

    instance: str
    channel: str

    def inbox(self, lane: Lane) -> str:
        """Stream of the jobs for the workers of a lane."""
        return self._key(f"inbox:{lane}")

    @property
    def outbox(self) -> str:
        """Stream of the publications, read by every front."""
        return self._key("outbox")

    @property
    def places(self) -> str:
        """Hash of the places of stored messages, by message id: "entry place", the message's entry id in the outbox and
        its place as `gischat.protocol.places` encodes it."""
        return self._key("places")

    @property
    def live(self) -> str:
        """Stream of live positions, from fronts to fronts: see `gischat.broker.live_stream`."""
        return self._key("live")

    @property
    def ids(self) -> str:
        """Sorted set of recently published ids, by time in milliseconds."""
        return self._key("ids")

    @property
    def users(self) -> str:
        """Hash of connection ids, by the key of their nickname (see `messages.folded`)."""
        return self._key("users")

    @property
    def nicknames_by_connection(self) -> str:
        """Hash of nicknames, by connection id: "key nickname"."""
        return self._key("nicknames")

    @property
    def fronts(self) -> str:
        """Sorted set of fronts, by the end of their lease in milliseconds; 0 if it was ended for a dead front."""
        return self._key("fronts")

    @property
    def dead(self) -> str:
        """Stream of dead letters: failed jobs, each with its reason."""
        return self._key("dead")

    def for_script(self, lane: Lane = Lane.LIGHT) -> tuple[str, ...]:
        """The keys that all scripts get, with one lane's inbox."""
        return _for_script(self, lane)

    def for_moderation(self) -> tuple[str, ...]:
        """The keys for scripts of moderation, which scripts for messages do not need."""
        return (
            *self.for_script(),
            self._key("bans"),  # hash: id -> "milliseconds ban", the time at which it ends
            self._key("deleted"),  # sorted set: ids of recently deleted messages, by milliseconds
            self._key("access_keys"),  # hash: id -> "milliseconds key", the time at which it ends
        )

    @property
    def types(self) -> Mapping[str, str]:
        """The type of each key, except for keys with a variable part in their names."""
        return _types(self)

    def for_presence(self, lane: Lane = Lane.LIGHT) -> tuple[str, ...]:
        """The keys for scripts of nicknames and leases: with requests for nicknames, and the fronts' processes."""
        return _for_presence(self, lane)

    @property
    def processes(self) -> str:
        """Hash of the fronts' process identities, by front: see `gischat.identity`."""
        return self._key("processes")

    def chunks(self, source: str, number: int) -> tuple[str, ...]:
        """The keys of the chunks of a large job's body. Not cached: their number is unbounded."""
        head = _key(self.instance, self.channel, "part")
        return tuple(f"{head}:{source}:{part}" for part in range(number))

    def body(self, name: str, number: int) -> tuple[str, ...]:
        """The keys of the chunks of a published body: see `gischat.broker.bodies`. Not cached, likewise."""
        head = self._key("body")
        return tuple(f"{head}:{name}:{chunk}" for chunk in range(number))

    def survey(self, call: str, front: str) -> str:
        """The key of a front's answer to a survey. Not cached: their number is unbounded."""
        return f"{_key(self.instance, self.channel, 'roll')}:{call}:{front}"

    def bridge(self, kind: str, name: str) -> str:
        """The key of a bridge's state in this channel: see `gischat.bridges.store`. Not cached: some contain people's
        names."""
        return f"{_key(self.instance, self.channel, 'bridge')}:{kind}:{name}"

    def _key(self, name: str) -> str:
        return _key(self.instance, self.channel, name)


def charges_key(instance: str) -> str:
    """Stream of the heavy lane's recent work, by client; in a slot of its own."""
    return _key(instance, "", "work")


def bridge_key(instance: str, kind: str, name: str) -> str:
    """The key of a bridge's state outside of channels: see `gischat.bridges.store`; in a slot of its own."""
    return _key(instance, "", f"bridge:{kind}:{name}")


# Cached, because every call of a script needs them all, and their number is bounded by the settings.


@functools.cache
def _for_script(keys: ChannelKeys, lane: Lane) -> tuple[str, ...]:
    return (
        keys.inbox(lane),
        keys.outbox,
        keys._key("outbox:sizes"),  # list: "milliseconds bytes[ name chunks]" of each entry of the outbox, oldest first
        keys._key("counters"),  # hash: published (the newest offset), outbox_bytes and others
        keys._key(f"inbox:{lane}:bytes"),
        keys._key("history"),  # list of stored messages, oldest first
        keys.ids,
        keys.fronts,
        keys._key("counts"),  # hash: front -> its connections in the channel
        keys.users,
        keys.nicknames_by_connection,
        keys.dead,
        keys._key("reaped"),  # set: ids of connections whose nickname the reaper freed
        keys._key("senders"),  # hash: message id -> its sender and content: see ids.lua
        keys.places,
    )


@functools.cache
def _for_presence(keys: ChannelKeys, lane: Lane = Lane.LIGHT) -> tuple[str, ...]:
    return (
        *keys.for_script(lane),
        keys._key("wishes"),  # sorted set of requests: "key number connection", all of one score: oldest first
        keys._key("wishers"),  # hash: connection -> "key number id nickname", its request for a nickname
        keys.processes,
    )


@functools.cache
def _types(keys: ChannelKeys) -> Mapping[str, str]:
    names = [*keys.for_moderation(), *_for_presence(keys)]
    for lane in Lane:
        names += _for_script(keys, lane)
    return {name: _TYPES[name.partition("}:")[2]] for name in names}


_TYPES = {
    **{f"inbox:{lane}": "stream" for lane in Lane},
    **{f"inbox:{lane}:bytes": "string" for lane in Lane},
    **dict.fromkeys(("outbox", "dead"), "stream"),
    **dict.fromkeys(("outbox:sizes", "history"), "list"),
    **dict.fromkeys(("ids", "fronts", "deleted", "wishes"), "zset"),
    **dict.fromkeys(("counters", "counts", "users", "nicknames", "senders", "places", "wishers", "processes"), "hash"),
    **dict.fromkeys(("bans", "access_keys"), "hash"),
    "reaped": "set",
}


@functools.cache
def _key(instance: str, channel: str, name: str) -> str:
    return f"gischat:{{{instance}:{_plain(channel)}}}:{name}"


def _plain(channel: str) -> str:
    """Escape the characters that have a meaning in keys: `{`, `}`, `:` and the escape `%` itself."""
    return re.sub(r"[%{}:]", lambda sign: f"%{ord(sign[0]):02X}", channel)


def key_slot(key: str) -> int:
    """The slot of a key in a Redis Cluster: CRC16 (XMODEM) of its hash tag, or of the whole key if it has none."""
    _, _, behind = key.partition("{")
    tag, brace, _ = behind.partition("}")
    return binascii.crc_hqx((tag if tag and brace else key).encode(), 0) % SLOTS
