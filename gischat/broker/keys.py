"""Every key in Redis.

All keys of a channel share a hash tag, so that a script on them stays in one slot of a Redis Cluster, while channels
spread over it. Scripts are handed all of a channel's keys, in the order of `for_script`; the names that they bear there
stand at the head of `prelude.lua`.
"""

import binascii
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gischat.protocol.messages import Lane

GROUP = "workers"  # the one consumer group of each inbox
SLOTS = 16_384  # of a Redis Cluster


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """The keys of one channel of one instance."""

    instance: str
    channel: str

    def inbox(self, lane: Lane) -> str:
        """Stream of jobs: what fronts ask the workers of a lane to do."""
        return self._key(f"inbox:{lane}")

    @property
    def outbox(self) -> str:
        """Stream of publications: what every front reads."""
        return self._key("outbox")

    @property
    def places(self) -> str:
        """Hash of the places of stored messages, by message id: "entry place", the message's entry in the outbox, and
        what `gischat.protocol.places` encodes."""
        return self._key("places")

    @property
    def live(self) -> str:
        """Stream of live positions, which fronts tell each other: see `gischat.broker.live_stream`."""
        return self._key("live")

    @property
    def ids(self) -> str:
        """Sorted set of the ids published lately, by milliseconds."""
        return self._key("ids")

    @property
    def users(self) -> str:
        """Hash of registered nicknames, by their keys (see `messages.folded`), each with its connection's address."""
        return self._key("users")

    @property
    def nicknames_by_connection(self) -> str:
        """Hash of addresses of connections, each with its nickname: "key nickname"."""
        return self._key("nicknames")

    @property
    def fronts(self) -> str:
        """Sorted set of fronts, by the milliseconds at which their lease ends; 0 where it was ended for them."""
        return self._key("fronts")

    @property
    def dead(self) -> str:
        """Stream of dead letters: jobs that could not be done, each with its reason."""
        return self._key("dead")

    def for_script(self, lane: Lane = Lane.LIGHT) -> tuple[str, ...]:
        """All keys, with one lane's inbox."""
        return _for_script(self, lane)

    def for_moderation(self) -> tuple[str, ...]:
        """All keys, and those of moderation, which a message on its way has nothing to do with."""
        return (
            *self.for_script(),
            self._key("bans"),  # hash: id -> "milliseconds ban", the time at which it ends
            self._key("deleted"),  # sorted set: ids of messages that were withdrawn lately, by milliseconds
            self._key("access_keys"),  # hash: id -> "milliseconds key", as bans
        )

    @property
    def types(self) -> Mapping[str, str]:
        """All keys whose names end, each with the type of what it holds."""
        return _types(self)

    def for_presence(self) -> tuple[str, ...]:
        """All keys, and those of who wants which nickname and which process a front is."""
        return _for_presence(self)

    @property
    def processes(self) -> str:
        """Hash of fronts, each with the process that it is: see `gischat.observability.process.identity`."""
        return self._key("processes")

    def chunks(self, source: str, number: int) -> tuple[str, ...]:
        """Where a large job's body is kept until it ends. Their names are endless: none is remembered."""
        head = _key(self.instance, self.channel, "part")
        return tuple(f"{head}:{source}:{part}" for part in range(number))

    def survey(self, call: str, front: str) -> str:
        """What a front answers to a survey. Its names are endless: none is remembered."""
        return f"{_key(self.instance, self.channel, 'roll')}:{call}:{front}"

    def bridge(self, kind: str, name: str) -> str:
        """What a bridge to another chat keeps of the channel: see `gischat.bridges.store`. Not remembered: some names
        are people's."""
        return f"{_key(self.instance, self.channel, 'bridge')}:{kind}:{name}"

    def _key(self, name: str) -> str:
        return _key(self.instance, self.channel, name)


def charges_key(instance: str) -> str:
    """Stream of the heavy lane's work of the last minutes, and for whom it was done; in a slot of its own."""
    return _key(instance, "", "work")


def bridge_key(instance: str, kind: str, name: str) -> str:
    """What a bridge keeps of the other chat as a whole: see `gischat.bridges.store`; in a slot of its own."""
    return _key(instance, "", f"bridge:{kind}:{name}")


# Every call of a script names them all, and the settings know them all: they are put together once.


@functools.cache
def _for_script(keys: ChannelKeys, lane: Lane) -> tuple[str, ...]:
    return (
        keys.inbox(lane),
        keys.outbox,
        keys._key("outbox:sizes"),  # list: "milliseconds bytes" of each entry of the outbox, oldest first
        keys._key("counters"),  # hash: published (how many ever), outbox_bytes
        keys._key(f"inbox:{lane}:bytes"),
        keys._key("history"),  # list of stored messages, oldest first
        keys.ids,
        keys.fronts,
        keys._key("counts"),  # hash: front -> its connections in the channel
        keys.users,
        keys.nicknames_by_connection,
        keys.dead,
        keys._key("reaped"),  # set: addresses that lost their nickname to the reaper
        keys._key("senders"),  # hash: message id -> who used it, and for what: see prelude.lua
        keys.places,
    )


@functools.cache
def _for_presence(keys: ChannelKeys) -> tuple[str, ...]:
    return (
        *keys.for_script(),
        keys._key("wishes"),  # sorted set: "key number address", all of one score: the oldest wish comes first
        keys._key("wishers"),  # hash: address -> "key number id nickname", the wish of a connection
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
    """The channel's name without what has a meaning in a key: `{`, `}`, `:` and the escape itself."""
    return re.sub(r"[%{}:]", lambda sign: f"%{ord(sign[0]):02X}", channel)


def key_slot(key: str) -> int:
    """The slot of a key in a Redis Cluster: CRC16 (XMODEM) of its hash tag, or of all of it if it has none."""
    _, _, behind = key.partition("{")
    tag, brace, _ = behind.partition("}")
    return binascii.crc_hqx((tag if tag and brace else key).encode(), 0) % SLOTS
