"""Large bodies of publications: in chunks under keys of their own, so that Redis never handles a whole one in one go.

Instead of such a body, outbox and history contain a reference: `@name chunks bytes `, then the body's first bytes, in
which scripts find its type and id; the chunks have the rest. Commits decide how long the chunks live (see prelude.lua).
"""

import re
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from gischat.broker.client import TOO_BUSY, ConnectionLost, InDoubt, Redis
from gischat.broker.entries import Publication
from gischat.broker.namespace import Namespace
from gischat.broker.resp_errors import WRONG_TYPE, ResponseError
from gischat.broker.scripts import CHUNK_BYTES
from gischat.errors import Unavailable

MARK = b"@"  # the body of a message begins with "{"
# A number that nobody of ours has written would keep the front busy for minutes, or fill its memory.
_REFERENCE = re.compile(rb"@(\S+) (\d{1,4}) (\d{1,9}) ")


class Limits(NamedTuple):
    """Sizes in bytes."""

    inline: int = CHUNK_BYTES  # larger bodies are in chunks
    chunk: int = CHUNK_BYTES
    head: int = 256  # of a body, in its reference: more than its type and id


class Reference(NamedTuple):
    """What stands for a large body."""

    name: str
    chunks: int
    size: int  # of all chunks
    head: bytes

    @classmethod
    def parse(cls, body: bytes) -> "Reference":
        """Parse what begins with the mark; ValueError: it was written by nobody of ours."""
        found = _REFERENCE.match(body)
        if found is None:
            raise ValueError("not a reference")
        name, chunks, size = found.groups()
        return cls(name.decode(), int(chunks), int(size), body[found.end() :])

    def encode(self) -> bytes:
        return MARK + f"{self.name} {self.chunks} {self.size} ".encode() + self.head


def is_reference(body: bytes) -> bool:
    return body.startswith(MARK)


class Bodies:
    """The large bodies of all channels, on one connection."""

    limits = Limits()

    def __init__(self, namespace: Namespace, redis: Redis) -> None:
        self._keys = namespace.keys
        self._milliseconds = int(namespace.timings.body_chunk * 1000)
        self._redis = redis

    async def write(self, channel: str, name: str, body: bytes) -> bytes:
        """Write a body's chunks, which expire unless they are committed; returns the reference.

        Args:
            name: of the job; with the body's digest it names the chunks, so that another attempt, even with another
                result, never changes chunks that are committed.

        Raises:
            ConnectionError, Unavailable, RedisError: repeat the call.
        """
        head, rest = body[: self.limits.head], memoryview(body)[self.limits.head :]
        starts = range(0, len(rest), self.limits.chunk)
        reference = Reference(f"{name}-{blake2b(rest, digest_size=8).hexdigest()}", len(starts), len(rest), head)
        for key, start in zip(self._keys[channel].body(reference.name, len(starts)), starts, strict=True):
            chunk = bytes(rest[start : start + self.limits.chunk])
            try:
                # NX: an existing chunk is the same, and must not expire if it is committed.
                await self._redis.call("SET", key, chunk, "NX", "PX", self._milliseconds, key=key)
            except InDoubt as error:
                raise ResponseError(str(error)) from None  # in doubt is the chunk alone: the job was not committed
        return reference.encode()

    async def read(self, channel: str, body: bytes) -> bytes | None:
        """The whole body that outbox or history have, or that their reference stands for; None if it is missing.

        Raises:
            Unavailable, RedisError: Redis did not answer.
        """
        if not is_reference(body):
            return body
        try:
            reference = Reference.parse(body)
        except ValueError:
            return None
        chunks = [reference.head]
        for key in self._keys[channel].body(reference.name, reference.chunks):
            try:
                chunk = await self._redis.call("GET", key, key=key)
            except ConnectionLost:
                raise Unavailable(TOO_BUSY) from None
            except ResponseError as error:
                if not str(error).startswith(WRONG_TYPE):
                    raise
                return None
            if chunk is None:
                return None
            chunks.append(chunk)
        whole = b"".join(chunks)
        return whole if len(whole) == len(reference.head) + reference.size else None

    async def complete(self, channel: str, publication: Publication) -> Publication:
        """The publication with its whole body; an empty one if it is missing."""
        if not is_reference(publication.body):
            return publication
        return replace(publication, body=await self.read(channel, publication.body) or b"")
