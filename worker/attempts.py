"""What the sandbox runs: a job of the heavy lane, measured; or a look at what it will take."""

import math
import time
from typing import NamedTuple

from gischat.errors import Uncompliant
from gischat.settings import Settings
from worker.effects import Effect, Publish, Refuse
from worker.handlers import HEAVY
from worker.image_costs import TakesLonger


class Postpone(NamedTuple):
    """A job that was not begun, for others wait: it will take so many seconds."""

    seconds: float


class Attempt(NamedTuple):
    """What came of a job of the heavy lane, and the processor's time that it took, in seconds."""

    effect: Effect | Postpone
    seconds: float


def attempt(type: str, body: bytes, settings: Settings, most_seconds: float | None) -> Attempt:
    """Does a job of the heavy lane, unless it is predicted to take more than `most_seconds` (None: whatever)."""
    since = time.process_time()
    effect = _attempted(type, body, settings, most_seconds)
    return Attempt(effect, time.process_time() - since)


def _attempted(type: str, body: bytes, settings: Settings, most_seconds: float | None) -> Effect | Postpone:
    try:
        return Publish(HEAVY[type](body, settings, math.inf if most_seconds is None else most_seconds))
    except TakesLonger as foretold:
        return Postpone(foretold.seconds)
    except Uncompliant as error:
        return Refuse(error.reason)
