"""What must hold in every world, whatever happened in it: the ledger's sums, and who is there."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gischat.broker.bodies import Reference, is_reference
from gischat.broker.keys import GROUP
from gischat.protocol.messages import Lane, id_of
from tests.simulation.loop import until
from tests.simulation.people import Named
from tests.simulation.redis_types import Stream

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE_SECONDS = 40.0
SETTLE_SECONDS = 0.5
DEAF = "Deaf("  # a process that finds that it does not hear ends itself, as it should


class _Records(logging.Handler):
    def __init__(self, world: "World") -> None:
        super().__init__(logging.DEBUG if world.is_told else logging.WARNING)
        self.world = world
        self.tracebacks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.world.tell(f"{record.levelname.lower()}: {record.getMessage()}")
        if record.exc_info:
            self.tracebacks.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


class Books:
    """Looks at a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._records = _Records(world)

    @contextlib.contextmanager
    def of_logs(self) -> Iterator[None]:
        """Reads what is logged, in place of everybody else."""
        root = logging.getLogger()
        before = root.handlers, root.level
        root.handlers, root.level = [self._records], self._records.level
        root.setLevel(self._records.level)
        try:
            yield
        finally:
            root.handlers = before[0]
            root.setLevel(before[1])

    def _value(self, key: str, kind: type) -> Any:
        return self._world.redis.data.get(key.encode(), kind) or kind()

    def was_published(self, id: str) -> bool:
        """As an operator could look it up."""
        ids = self._world.redis.data.keys.get(self._world.keys.ids.encode())
        return ids is not None and id.encode() in ids

    def _waiting(self) -> list[str]:
        """What is in the inboxes; a heartbeat may be at any moment."""
        found = []
        for lane in Lane:
            stream = self._value(self._world.keys.inbox(lane), Stream)
            jobs = {id: fields[fields.index(b"type") + 1] for id, fields in stream.entries.items()}
            found += [f"{lane} {type.decode()} {id[0]}-{id[1]}" for id, type in jobs.items() if type != b"heartbeat"]
            pending = stream.groups[GROUP.encode()].pending if GROUP.encode() in stream.groups else {}
            found += [f"{lane} pending {id[0]}-{id[1]}" for id in pending if id not in jobs]
        return found

    async def drained(self) -> None:
        if not await until(lambda: not self._waiting(), PATIENCE_SECONDS):
            raise AssertionError(f"jobs wait for ever: {self._waiting()}")

    async def balanced(self) -> None:
        await until(lambda: not self._world.ledger.balance().lost, PATIENCE_SECONDS)

    async def faults(self) -> list[str]:
        """What is wrong, in words."""
        world = self._world
        wrong = world.ledger.faults()
        for peer in world.peers:
            wrong += peer.wrong
            if peer.breach is not None:
                wrong.append(f"{peer.name}: {peer.breach}")
        if not wrong:  # else it would wait for what may never come
            wrong += await self._faults_of_presence()
        if not world.loses_keys:  # a sum that was lost with its key begins anew
            wrong += self._faults_of_sums()
        wrong += [f"logged: {one}" for one in self._records.tracebacks]
        wrong += [f"uncaught: {one.get('message')}: {one.get('exception')!r}" for one in world.loop.faults]
        for program in (*world.fronts, *world.workers):
            wrong += [f"{program.name} {end}" for end in program.ends if end.startswith("failed") and DEAF not in end]
        return wrong

    async def _faults_of_presence(self) -> list[str]:
        """Who is there comes to be told, everywhere, and then stays as it is."""
        await until(lambda: not self._untrue(), PATIENCE_SECONDS)
        if wrong := self._untrue():
            return wrong
        await asyncio.sleep(SETTLE_SECONDS)  # some may be told a moment later
        changes = self._world.changes_of_presence
        await asyncio.sleep(self._world.size.quiet)
        more = self._world.changes_of_presence - changes
        return self._untrue() + ([f"{more} more comings and goings of those who stay"] if more else [])

    def _untrue(self) -> list[str]:
        peers, number = self._world.peers, len(self._world.peers)
        named = [peer for peer in peers if isinstance(peer, Named)]
        found = [f"{peer.name} was told of {peer.nb_users} users" for peer in peers if peer.nb_users != number]
        users = sorted(name.decode() for name in self._value(self._world.keys.users, dict))
        if users != sorted(peer.name for peer in named):
            found.append(f"registered are {users}")
        return found + [f"{peer.name} is not registered" for peer in named if not peer.is_registered]

    def _faults_of_sums(self) -> list[str]:
        """What Redis has added up, by what there is."""
        world, found = self._world, []
        inbox, outbox, sizes, meters, _, history, *_ = world.keys.for_script()
        meter, stored, places = (
            self._value(*of) for of in ((meters, dict), (history, list), (world.keys.places, dict))
        )
        sums = {
            b"outbox_bytes": sum(_size(fields[-1]) for fields in self._value(outbox, Stream).entries.values()),
            b"history_bytes": sum(map(_size, (*stored, *places.values()))),
            b"places": len(places),
        }
        if lost := places.keys() - set(map(id_of, stored)):
            found.append(f"places without their messages: {lost}")
        for name, right in sums.items():
            if int(meter.get(name, 0)) != right:
                found.append(f"{name.decode()} are {meter.get(name)}, not {right}")
        if len(self._value(sizes, list)) != len(self._value(outbox, Stream).entries):
            found.append("not every publication has its size")
        for lane in Lane:
            inbox = world.keys.inbox(lane)
            jobs = [dict(zip(f[::2], f[1::2], strict=True)) for f in self._value(inbox, Stream).entries.values()]
            right = sum(int(job.get(b"chunked_size", len(job[b"body"]))) for job in jobs)
            if int(self._value(f"{inbox}:bytes", bytes) or 0) != right:
                found.append(f"{self._value(f'{inbox}:bytes', bytes)!r} bytes wait in {lane}, not {right}")
        found += self._faults_of_bodies([Reference.parse(body) for body in stored if is_reference(body)])
        return found + [f"{name.decode()} are left" for name in meter if name.startswith(b"heavy_bytes")]

    def _faults_of_bodies(self, stored: Sequence[Reference]) -> list[str]:
        """Chunks do not expire exactly if the history has their body."""
        data, keys = self._world.redis.data, self._world.keys
        kept = {key for key in data.keys if b":body:" in key and key not in data.expires}
        right = {key.encode() for body in stored for key in keys.body(body.name, body.chunks)}
        return [f"chunks are kept or missing that are not: {kept ^ right}"] if kept != right else []


def _size(body: bytes) -> int:
    return len(body) + (Reference.parse(body).size if is_reference(body) else 0)
