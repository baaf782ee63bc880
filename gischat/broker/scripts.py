"""The Lua scripts: each is a file in lua/, runs in one slot, and takes effect as a whole or not at all."""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple

from gischat.broker.entries import OPERATOR, PASSES_FREEZE
from gischat.broker.keys import GROUP
from gischat.protocol.types import PLACED_TYPES
from gischat.settings import Settings
from gischat.timings import Timings

IDS_NUMBER = 20_000  # maximum of remembered ids per channel: about 2.5 MB of Redis' memory
IDS_STEP = 50  # publications between two removals of ids that are too old or too many
CHUNK_BYTES = 2**18  # of a large body: half a millisecond of Redis' time
SINCE_BYTES = 8 * 2**20  # maximum of missed messages that a client gets after reconnecting
CANCELLED_DIGEST = "cancelled"  # replaces a message's digest in `SENDERS`: its sender was told that it is not sent
DEAD_LETTERS = 1000  # per channel; likewise the following
DEAD_BYTES = 64 * 2**20
BANS_NUMBER = 1000
ACCESS_KEYS_NUMBER = 1000


_LUA = Path(__file__).with_name("lua")
_FUNCTION = re.compile(r"(?:^--.*\n)*^local function (\w+)\(.*\)\n[^\0]*?^end\n", re.MULTILINE)
_COMMENT = re.compile(r"--.*")

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
    {"register", "restore", "exit", "unregister", "renew_lease", "release_lease", "reap", "repair_nicknames", "sweep"}
)

# How many keys a script gets in addition to those that all scripts get: see `ChannelKeys`.
_OWN_KEYS = dict.fromkeys(MODERATION | {"retained", "snapshot"}, 3) | dict.fromkeys(PRESENCE, 3)


@dataclass(frozen=True, slots=True)
class Script:
    """A script with the instance's limits; Redis identifies it by `digest`."""

    name: str
    parts: tuple[str, ...]  # of its text; scripts share most of them
    digest: str

    @property
    def text(self) -> str:
        """The whole text, for a Redis that does not know the digest yet."""
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
    sweep: Script
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
        limits = _limits(settings, timings)
        self.all = [_script(name, limits) for name in type(self).__annotations__]
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


class _Piece(NamedTuple):
    """A part of a file: a function, or what is between two functions."""

    function: str  # its name, or empty
    text: str
    words: frozenset[str]


@functools.cache
def _read(name: str) -> str:
    return _LUA.joinpath(f"{name}.lua").read_text("utf-8") + "\n"


@functools.cache
def _pieces(text: str) -> tuple[_Piece, ...]:
    pieces, end = [], 0
    for found in _FUNCTION.finditer(text):
        pieces += [_piece(text[end : found.start()]), _piece(found[0], found[1])]
        end = found.end()
    return (*pieces, _piece(text[end:]))


def _piece(text: str, function: str = "") -> _Piece:
    return _Piece(function, text, frozenset(re.findall(r"\w+", _COMMENT.sub("", text))))


def _script(name: str, limits: str) -> Script:
    shared = ["prelude", "ids"]
    if name in PRESENCE:
        shared += ["presence", "batch"]
    if name in MODERATION:
        shared.append("moderation")
    own_keys = f"local OWN_KEYS = {_OWN_KEYS.get(name, 0)}\n"
    parts = (limits, own_keys, *_used(piece for file in (*shared, name) for piece in _pieces(_read(file))))
    return Script(name, parts, sha1("".join(parts).encode(), usedforsecurity=False).hexdigest())


def _used(pieces: Iterable[_Piece]) -> list[str]:
    """The texts without the functions that are not used: a script defines its functions anew in each run."""
    pieces = list(pieces)
    used: set[str] = set()
    new = {""}  # what is between functions
    while new:
        used |= new
        new = {word for piece in pieces if piece.function in new for word in piece.words}
        new = {piece.function for piece in pieces if piece.function in new} - used
    return [piece.text for piece in pieces if piece.function in used]
