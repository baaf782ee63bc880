"""Placing of the light lane's messages: at once if the CRS is cached, else after it has been looked up.

A new CRS takes PROJ milliseconds, and a hostile one could take long or crash the parser. So it is parsed in a sandbox,
while other messages go on. The cache holds as many CRS as people use in a day. A message that cannot be placed is
published without a place.
"""

import asyncio
import importlib
import logging
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from gischat.broker.entries import Job
from gischat.observability import metrics
from worker.effects import Publish
from worker.sandbox import Sandbox, SandboxError, StartFailed

if TYPE_CHECKING:
    from worker.crs import Crs

log = logging.getLogger(__name__)

CRS_MEMORY = 2**29  # bytes of address space
KEPT = 256  # CRS
MAX_WAITING = 64
"""CRS being looked up or waiting for it: a second of work. Further messages are published without a place."""

PLACED, UNPLACED, FAILED = "placed", "unplaced", "failed"  # outcomes, for the metrics

Key = tuple[str, str]  # a message's crs_wkt and crs_authid


def count(type: str, effect: object) -> None:
    """Count a message that can have a place, by its outcome."""
    if isinstance(effect, Publish):
        outcome = FAILED if effect.unplaced else PLACED if effect.place else UNPLACED
        metrics.PLACES.labels(type, outcome).inc()


class Placer:
    """Places a light worker's messages."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: OrderedDict[Key, Crs | None] = OrderedDict()  # least recently used first
        self._asked: dict[Key, asyncio.Task[None]] = {}

    def now(self, job: Job, effect: Publish) -> Publish | None:
        """The effect with its place; None if the CRS has to be looked up."""
        if not self._known:  # PROJ is not loaded yet
            return None
        from worker import places

        try:
            message = places.read(job.body)
            key = message.crs_wkt, message.crs_authid
            if key not in self._known:
                return None
            self._known.move_to_end(key)
            return replace(effect, place=places.of_light(message, self._known[key]))
        except Exception as error:
            log.error("a message is published without its place", exc_info=error)
            return replace(effect, unplaced=repr(error))

    async def later(self, job: Job, effect: Publish) -> Publish:
        """Look up the CRS; returns the effect with its place, if it has one."""
        try:
            return await self._later(job, effect)
        except Exception as error:
            log.error("a message is published without its place", exc_info=error)
            return replace(effect, unplaced=repr(error))

    async def _later(self, job: Job, effect: Publish) -> Publish:
        await asyncio.to_thread(importlib.import_module, "worker.places")  # PROJ takes a third of a second to load
        from worker import places

        message = places.read(job.body)
        key = message.crs_wkt, message.crs_authid
        if key not in self._known and key not in self._asked:
            if len(self._asked) >= MAX_WAITING:
                return replace(effect, unplaced="too many CRS are looked up")
            self._asked[key] = asyncio.create_task(self._look_up(key))
        if key in self._asked:
            await asyncio.shield(self._asked[key])
        return self.now(job, effect) or replace(effect, unplaced="its CRS could not be looked up")

    async def _look_up(self, key: Key) -> None:
        from worker import crs

        try:
            self._know(key, await self._sandbox.run(crs.find, *key))
        except SandboxError as error:
            log.warning("a CRS could not be read: %s", error)
            self._know(key, None)
        except StartFailed as error:
            log.error("no CRS can be read: %s", error)
        finally:
            del self._asked[key]

    def _know(self, key: Key, crs: "Crs | None") -> None:
        self._known[key] = crs
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
