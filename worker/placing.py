"""Gives the light lane's messages their places: at once where the CRS is known, else as soon as it has been looked up.

Nobody else's message waits for a new CRS, which takes PROJ milliseconds, nor for one that is made to take long or to
break what reads it: it is read in a sandbox. What comes of that is kept, of so many CRS as people use in a day. What
cannot be placed is published all the same.
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
"""CRS that are looked up or wait for it: a second of work. Beyond that a message is published without its place."""

PLACED, UNPLACED, FAILED = "placed", "unplaced", "failed"  # how it ends, for the operator's counts

Key = tuple[str, str]  # a message's crs_wkt and crs_authid


def count(type: str, effect: object) -> None:
    """Counts a message that could have a place."""
    if isinstance(effect, Publish):
        outcome = FAILED if effect.unplaced else PLACED if effect.place else UNPLACED
        metrics.PLACES.labels(type, outcome).inc()


class Placer:
    """Places a light worker's messages."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: OrderedDict[Key, Crs | None] = OrderedDict()  # the one that was used last comes last
        self._asked: dict[Key, asyncio.Task[None]] = {}

    def now(self, job: Job, effect: Publish) -> Publish | None:
        """The effect with its place; None where the CRS has to be looked up."""
        if not self._known:  # nor has PROJ been loaded
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
        """The effect with its place, if there is one, once its CRS has been looked up."""
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
