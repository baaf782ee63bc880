"""Attempts at heavy jobs, run in the sandbox: a job is done and measured, or postponed for its predicted cost."""

import gc
import math
import time
from typing import NamedTuple

from gischat.errors import Uncompliant
from gischat.settings import Settings
from worker.effects import Effect, Refuse
from worker.handlers import HEAVY
from worker.image_costs import TakesLonger


class Postpone(NamedTuple):
    """A job was not started, since its predicted seconds are too many while others wait."""

    seconds: float


class Attempt(NamedTuple):
    """The effect of a job of the heavy lane, and the CPU time that it took, in seconds."""

    effect: Effect | Postpone
    seconds: float


def attempt(
    type: str, body: bytes, settings: Settings, most_seconds: float | None, *, is_placed: bool = False
) -> Attempt:
    """Do a job of the heavy lane, unless it is predicted to take more than `most_seconds` (None: no limit).

    Args:
        is_placed: compute a layer's place, too.
    """
    since = time.process_time()
    most = math.inf if most_seconds is None else most_seconds
    effect: Effect | Postpone
    gc.disable()  # a job makes no cyclic garbage, and collections take a fifth of a large layer's time
    try:
        effect = HEAVY[type](body, settings, most, is_placed=is_placed)
    except TakesLonger as foretold:
        effect = Postpone(foretold.seconds)
    except Uncompliant as error:
        effect = Refuse(error.reason)
    finally:
        gc.enable()
    return Attempt(effect, time.process_time() - since)
