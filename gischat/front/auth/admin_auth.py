"""Who may moderate: whoever has the token. A wrong one is answered slowly, and an address that tries many is not heard
for a while: not even with the right one, or guessing would cost nothing.
"""

import asyncio
from collections.abc import Mapping

from gischat import bearer
from gischat.front.auth.failed_attempts import FailedAttempts
from gischat.timings import Timings

MAX_DELAYED_REJECTIONS = 50  # wrong tokens whose answers wait at the same time; beyond, the answer comes at once


class AdminAuth:
    """Knows the token, and who has tried to guess it. Without a token it admits nobody."""

    def __init__(self, token: str, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._digests = [bearer.digest(token)] if token else []
        self._delayed = 0
        self._failures = FailedAttempts(timings.wrong_tokens)

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        """Whether a request's headers bear the token."""
        return bearer.matches(bearer.from_headers(headers), self._digests)

    def retry_after(self, address: str) -> int:
        """How long nothing is heard from an address; 0: it is heard."""
        return self._failures.retry_after(address)

    async def record_failure(self, address: str) -> None:
        """Counts a wrong token, and lets its sender wait."""
        self._failures.record(address)
        if self._delayed >= MAX_DELAYED_REJECTIONS:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(self._timings.wrong_token)
        finally:
            self._delayed -= 1
