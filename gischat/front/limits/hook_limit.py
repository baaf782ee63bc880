"""The hooks of the settings, looked up by their keys, and their rate limits."""

import hmac
import math
from http import HTTPStatus

from gischat import bearer
from gischat.errors import RefusalReason
from gischat.front.limits.connection_limit import Rejection
from gischat.front.limits.rate_limit import RateLimits, wait_advice
from gischat.front.limits.rejection_log import RejectionLog
from gischat.hook_settings import Hook
from gischat.settings import Settings

TOO_OFTEN = "This hook speaks too often: nothing of this was sent."


class Hooks:
    """All hooks; only digests of their keys are kept."""

    def __init__(self, settings: Settings, rejections: RejectionLog) -> None:
        self._hooks = [(bearer.digest(key), hook) for hook, key in settings.hooks]
        self._limits = RateLimits(settings)
        self._full_at: dict[Hook, float] = {}  # time when each hook's bucket is full again
        self._rejections = rejections

    def find(self, key: str) -> Hook | None:
        """The hook of a key; compares all keys, in constant time."""
        given = bearer.digest(key)
        found = [hook for digest, hook in self._hooks if hmac.compare_digest(digest, given)]
        return found[0] if found else None

    def acquire(self, hook: Hook) -> Rejection | None:
        """Count a message of a hook before it is read; returns a Rejection if it exceeds the limit."""
        wait = self._limits.hooks.delay(self._full_at.get(hook, 0.0), self._limits.now())
        if wait <= 0:
            self.charge(hook, 1)
            return None
        self._rejections.record(RefusalReason.HOOK_RATE_LIMIT, "the hook %s of channel %s", hook.name, hook.channel)
        seconds = math.ceil(wait)
        return Rejection(HTTPStatus.TOO_MANY_REQUESTS, f"{TOO_OFTEN} {wait_advice(seconds)}", seconds)

    def charge(self, hook: Hook, number: int) -> None:
        """Count `number` more messages for a hook, which delays the next ones."""
        self._full_at[hook] = self._limits.hooks.acquire(self._full_at.get(hook, 0.0), self._limits.now(), number)
