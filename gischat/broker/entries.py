"""Entries of the streams: a `Job` in an inbox, a `Publication` in an outbox; encoding, decoding and their enums.

A job's large body is not in its entry but in chunks, each under a key of its own: Redis would copy a large entry in one
go, and block all other commands meanwhile.

Source        front/connection/number   the connection that a job comes from, and the job's number there
Job           front -> worker           in a channel's inbox
Publication   worker -> all fronts      in a channel's outbox
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from gischat.protocol.types import TYPES

TRACE_MARK = ";"  # the trace must have no "/": scripts take all before the last one for the connection


class Source(NamedTuple):
    """The origin of a job, to which its result is reported.

    `trace` is empty or, if the message is traced, `;` and the context of the job's span as in a `traceparent` header
    (W3C Trace Context). It is part of the source, so that it is in all entries about the job.
    """

    front: str
    connection: int
    number: int
    trace: str = ""

    @property
    def connection_id(self) -> str:
        """The connection's id, which nicknames belong to: front/connection."""
        return f"{self.front}/{self.connection}"

    def __str__(self) -> str:
        return f"{self.front}/{self.connection}/{self.number}{self.trace}"

    @classmethod
    def parse(cls, text: bytes) -> Self:
        front, connection, number = text.decode().split("/")
        try:
            return cls(front, int(connection), int(number))
        except ValueError:  # a trace follows; sources without one must not pay for this check
            number, mark, context = number.partition(TRACE_MARK)
            return cls(front, int(connection), int(number), mark + context)


OPERATOR = Source("operator", 0, 0)  # of dead letters that an operator retries; no front has this name

# Types of the fronts' own jobs; all other jobs have their message's type.
COUNT = "count"  # the number of a front's connections in the channel
LEAVE = "leave"  # a connection has ended
RESTORE = "restore"  # a nickname that Redis lost
HEARTBEAT = "heartbeat"  # of the health probe; has no effect

ANNOUNCEMENT = "announcement"  # a text from the operator

PRESENCE = frozenset({COUNT, LEAVE, RESTORE, HEARTBEAT, "newcomer", "exiter"})
# The types that a frozen channel accepts
PASSES_FREEZE = PRESENCE | {ANNOUNCEMENT} | {row.name for row in TYPES.values() if row.passes_freeze}


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of an inbox.

    Attributes:
        id: the message's id, by which duplicates are recognised; empty if they do not matter.
        body: JSON: a client's whole message, or the arguments of a front's own job; empty until it is fetched, if it
            is in chunks.
        client: the sender's network address as limits count it (an IPv4 address or an IPv6 /64).
        sender: identifies the sender if it has no connection, as a bot that uses HTTP; empty otherwise.
        chunks, chunked_size: the number of chunks and their size in bytes; 0 if the body is in the entry.
    """

    source: Source
    type: str
    id: str
    body: bytes
    client: str = ""
    sender: str = ""
    chunks: int = 0
    chunked_size: int = 0  # bytes

    @property
    def size(self) -> int:
        """The size of the body in bytes, fetched or not."""
        return self.chunked_size or len(self.body)

    @property
    def is_complete(self) -> bool:
        return len(self.body) == self.size

    @classmethod
    def parse(cls, fields: Sequence[bytes]) -> Self:
        """Decode an entry. One that no front has written becomes a job of the empty type, which fails."""
        by_name = dict(zip(fields[::2], fields[1::2], strict=False))
        try:
            return cls(
                Source.parse(by_name[b"source"]),
                by_name[b"type"].decode(),
                by_name[b"id"].decode(),
                by_name[b"body"],
                by_name.get(b"client", b"").decode(),
                by_name.get(b"sender", b"").decode(),
                int(by_name.get(b"chunks", 0)),
                int(by_name.get(b"chunked_size", 0)),
            )
        except (KeyError, ValueError):
            return cls(Source("", 0, 0), "", "", by_name.get(b"body", b""))


class Outcome(StrEnum):
    """The result of a job, or the kind of a publication that ends no job."""

    PUBLISHED = "published"  # sent to everyone in the channel
    DONE = "done"  # nothing to send
    DUPLICATE = "duplicate"  # its id was published before: not published again
    RESTORED = "restored"  # a nickname that Redis had lost, given back; sent only where its exit was
    REFUSED = "refused"  # the body is the sender's `uncompliant`
    DEAD_LETTERED = "dead_lettered"  # moved to the dead letters; the body is the sender's `uncompliant`
    # These end no job:
    GRANTED = "granted"  # a nickname became free and went to the connection that requested it; sent to everyone
    CONTROL = "control"  # a control message to all fronts: an order (the type) with its arguments (the body)
    FOREIGN = "foreign"  # no publication at all: see `FOREIGN`


# The outcomes of clients' messages
JOB_OUTCOMES: Sequence[Outcome] = [
    one for one in Outcome if one not in (Outcome.RESTORED, Outcome.GRANTED, Outcome.CONTROL, Outcome.FOREIGN)
]

STATE_LOST = "state_lost"  # an order: Redis lost its last publications; fronts replay theirs
NICKNAMES = "nicknames"  # an order: Redis' nicknames or requests for them were wrong; fronts send theirs again
CHALLENGE = "challenge"  # an order: somebody requests a connection's nickname; check that it is alive


@dataclass(frozen=True, slots=True)
class Publication:
    """One entry of an outbox.

    The body is sent to the connection `to`, if there is one (a granted nickname also to everyone); to the job's own
    connection if the job was refused, dead-lettered or a duplicate; otherwise, if not empty, to the whole channel.

    Attributes:
        offset: counts the channel's publications, so that readers detect gaps.
        source: of the job that this entry ends; None if it ends none.
        id: of the message in the body.
    """

    offset: int
    source: Source | None
    outcome: Outcome
    to: str
    type: str
    id: bytes
    body: bytes

    @classmethod
    def parse(cls, fields: Sequence[bytes]) -> Self:
        """Decode an entry.

        Raises:
            ValueError: gischat did not write it.
        """
        number, source, outcome, to, type, id, body = fields[1::2]
        return cls(
            int(number),
            Source.parse(source) if source else None,
            Outcome(outcome.decode()),
            to.decode(),
            type.decode(),
            id,
            body,
        )

    @property
    def is_lost(self) -> bool:
        """Whether its body was in chunks that are missing: see `gischat.broker.bodies`."""
        return self.outcome is Outcome.PUBLISHED and not self.body

    @property
    def is_broadcast(self) -> bool:
        if self.outcome is Outcome.PUBLISHED:
            return bool(self.body) and not self.to
        return self.outcome is Outcome.GRANTED

    @property
    def is_foreign(self) -> bool:
        return self.outcome is Outcome.FOREIGN


# In place of a publication, in an entry that gischat did not write: readers advance behind it, and do nothing else
FOREIGN = Publication(0, None, Outcome.FOREIGN, "", "", b"", b"")
