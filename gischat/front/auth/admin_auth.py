"""Admin authentication by the moderators' token, with lockout.

The answer to a wrong token is delayed. An address with many wrong tokens is locked out for a while, also with the right
one: otherwise guessing would cost nothing.
"""

import asyncio
from collections.abc import Mapping

from gischat import bearer
from gischat.front.auth.failed_attempts import FailedAttempts
from gischat.timings import Timings

MAX_DELAYED_REJECTIONS = 50  # at the same time; further wrong tokens are answered at once


class AdminAuth:
    """Checks the token, and counts failures by address. Without a token in the settings, nobody is authorized."""

    def __init__(self, token: str, timings: Timings = Timings()) -> None:
        self._timings = timings
        self._digests = [bearer.digest(token)] if token else []
        self._delayed = 0
        self._failures = FailedAttempts(timings.wrong_tokens)

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        """Whether a request's headers contain the token."""
        return bearer.matches(bearer.from_headers(headers), self._digests)

    def retry_after(self, address: str) -> int:
        """Seconds for which an address is locked out; 0 if it is not."""
        return self._failures.retry_after(address)

    async def record_failure(self, address: str) -> None:
        """Count a wrong token, and delay its answer."""
        self._failures.record(address)
        if self._delayed >= MAX_DELAYED_REJECTIONS:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(self._timings.wrong_token)
        finally:
            self._delayed -= 1
