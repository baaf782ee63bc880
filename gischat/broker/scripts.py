"""The scripts that run inside Redis: each a file in lua/, in one slot, all or nothing."""

import functools
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from gischat.broker.entries import OPERATOR, PASSES_FREEZE
from gischat.broker.keys import GROUP
from gischat.protocol.types import PLACED_TYPES
from gischat.settings import Settings
from gischat.timings import Timings

IDS_NUMBER = 20_000  # that are remembered at the most, per channel: about 2.5 MB of Redis' memory
IDS_STEP = 50  # publications, after which those that are too old or too many are forgotten
CHUNK_BYTES = 2**18  # of a large body that is kept apart from its job: half a millisecond of Redis' time
SINCE_BYTES = 8 * 2**20  # of what a client that comes back can be told of what it missed
CANCELLED_DIGEST = "cancelled"  # in place of that of a message, in `SENDERS`: its sender was told that it is not sent
DEAD_LETTERS = 1000  # per channel, as what follows
DEAD_BYTES = 64 * 2**20
BANS_NUMBER = 1000  # per channel, as what follows
ACCESS_KEYS_NUMBER = 1000


_LUA = Path(__file__).with_name("lua")

MODERATION = frozenset(
    {
        "ban",
        "unban",
        "grant_key",
        "revoke_key",
        "freeze",
        "moderation_state",
        "restore_moderation",
        "delete_messages",
        "disconnect",
        "start_survey",
    }
)
PRESENCE = frozenset(
    {"register", "restore", "exit", "unregister", "renew_lease", "release_lease", "reap", "repair_nicknames"}
)

SAID = frozenset({"commit", "like", "body_missing"})  # they end what a client has said; so do some of presence

# How many keys of its own a script is handed behind those that all are: see `ChannelKeys`.
_OWN_KEYS = dict.fromkeys(MODERATION | {"retained", "snapshot"}, 3) | dict.fromkeys(PRESENCE, 3)


@dataclass(frozen=True, slots=True)
class Script:
    """A script with the instance's limits in it; `digest` is what Redis knows it by."""

    name: str
    parts: tuple[str, ...]  # of its text; most are those of all scripts
    digest: str

    @property
    def text(self) -> str:
        """For a Redis that does not know it yet."""
        return "".join(self.parts)


class Scripts:
    """All scripts, as attributes: `scripts.commit`."""

    enqueue: Script
    job_status: Script
    find_damage: Script
    claim: Script
    release: Script
    commit: Script
    body_missing: Script
    register: Script
    restore: Script
    exit: Script
    unregister: Script
    like: Script
    set_user_count: Script
    renew_lease: Script
    release_lease: Script
    dead_fronts: Script
    reap: Script
    repair_nicknames: Script
    delete_idle_consumers: Script
    tail: Script
    snapshot: Script
    message: Script
    user_count: Script
    dead_letter: Script
    retained: Script
    retry: Script
    discard: Script
    backlog: Script
    ban: Script
    unban: Script
    grant_key: Script
    revoke_key: Script
    freeze: Script
    moderation_state: Script
    restore_moderation: Script
    delete_messages: Script
    disconnect: Script
    start_survey: Script

    def __init__(self, settings: Settings, timings: Timings = Timings()) -> None:
        limits, prelude = _limits(settings, timings), _read("prelude")
        self.all = []
        for name in type(self).__annotations__:
            own_keys = f"local OWN_KEYS = {_OWN_KEYS.get(name, 0)}\n"
            self.all.append(_script(name, limits, own_keys, prelude, *_own_head(name), _read(name)))
        for script in self.all:
            setattr(self, script.name, script)


def _limits(settings: Settings, timings: Timings) -> str:
    limits = {
        "INBOX_MESSAGES": settings.max_inbox_messages,
        "INBOX_MAX_BYTES": settings.max_inbox_bytes,
        "OUTBOX_MESSAGES": settings.max_outbox_messages,
        "OUTBOX_BYTES": settings.max_outbox_bytes,
        "OUTBOX_AGE": settings.max_outbox_age * 1000,
        "HISTORY_MESSAGES": settings.max_stored_messages,
        "HISTORY_BYTES": settings.max_stored_bytes,
        "IDS_AGE": int(timings.ids * 1000),
        "IDS_NUMBER": IDS_NUMBER,
        "IDS_STEP": IDS_STEP,
        "SETTLING": int(timings.settling * 1000),
        "REAPED_AGE": int(timings.reaped),
        "DEAD_LETTERS": DEAD_LETTERS,
        "DEAD_BYTES": DEAD_BYTES,
        "DEAD_AGE": int(timings.dead_letters * 1000),
        "BANS_NUMBER": BANS_NUMBER,
        "ACCESS_KEYS_NUMBER": ACCESS_KEYS_NUMBER,
    }
    lines = [f"local {name} = {value}" for name, value in limits.items()]
    words = {
        "GROUP": GROUP,
        "CANCELLED_DIGEST": CANCELLED_DIGEST,
        "OPERATOR": str(OPERATOR),
        "PASSES_FREEZE": f" {' '.join(sorted(PASSES_FREEZE))} ",
        "PLACED": f" {' '.join(sorted(PLACED_TYPES))} ",
    }
    lines += [f"local {name} = '{value}'" for name, value in words.items()]
    return "\n".join(lines) + "\n"


def _own_head(name: str) -> tuple[str, ...]:
    """What is made anew with each run, only where it is needed."""
    if name in PRESENCE:
        return _read("ids"), _read("presence")
    if name in SAID:
        return (_read("ids"),)
    return (_read("moderation"),) if name in MODERATION else ()


@functools.cache
def _read(name: str) -> str:
    return _LUA.joinpath(f"{name}.lua").read_text("utf-8") + "\n"


def _script(name: str, *parts: str) -> Script:
    return Script(name, parts, sha1("".join(parts).encode(), usedforsecurity=False).hexdigest())
