"""What must hold in every world, whatever happened in it: the ledger's sums, and who is there."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gischat.messages import Lane
from gischat.streams.keys import GROUP
from tests.simulation.loop import until
from tests.simulation.people import Named
from tests.simulation.redis_types import Stream

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE_SECONDS = 40.0
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
        return ids is not None and id.encode() in ids.scores  # type: ignore[union-attr]

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
        wrong += await self._faults_of_presence()
        wrong += [f"logged: {one}" for one in self._records.tracebacks]
        wrong += [f"uncaught: {one.get('message')}: {one.get('exception')!r}" for one in world.loop.faults]
        for program in (*world.fronts, *world.workers):
            wrong += [f"{program.name} {end}" for end in program.ends if end.startswith("failed") and DEAF not in end]
        return wrong

    async def _faults_of_presence(self) -> list[str]:
        world = self._world
        names = sorted(peer.name for peer in world.peers if isinstance(peer, Named))

        def told() -> list[str]:
            found = [
                f"{peer.name} was told of {peer.nb_users} users"
                for peer in world.peers
                if peer.nb_users != len(world.peers)
            ]
            users = sorted(name.decode() for name in self._value(world.keys.users, dict))
            if users != names:
                found.append(f"registered are {users}")
            found += [
                f"{p.name} is not registered" for p in world.peers if isinstance(p, Named) and not p.is_registered
            ]
            return found

        await until(lambda: not told(), PATIENCE_SECONDS)
        return told()
