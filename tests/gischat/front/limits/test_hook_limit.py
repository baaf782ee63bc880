"""Hooks: found by their keys, with a rate limit each. Time is virtual."""

from gischat.front.limits.hook_limit import Hooks
from gischat.front.limits.rejection_log import RejectionLog
from gischat.hook_settings import Hook
from tests.support.settings import settings
from tests.support.virtual_time import pass_time, virtual_time

ONE, OTHER = Hook("QGIS", "one"), Hook("QGIS", "other")
KEYS = ((ONE, "0123456789abcdef"), (OTHER, "fedcba9876543210"))


@virtual_time
async def test_a_hook_is_found_only_by_its_complete_key() -> None:
    hooks = Hooks(settings(hooks=KEYS), RejectionLog())
    assert [hooks.find(key) for _, key in KEYS] == [ONE, OTHER]
    assert [hooks.find(key) for key in ("", "0123456789abcde", "0123456789abcdeF", "é")] == [None] * 4


@virtual_time
async def test_the_rate_limit_of_a_hook_does_not_affect_others() -> None:
    hooks = Hooks(settings(hooks=KEYS, max_hook_messages_per_minute=6), RejectionLog())
    assert hooks.acquire(ONE) is None
    hooks.charge(ONE, 5)  # a long text
    refused = hooks.acquire(ONE)
    assert refused is not None
    assert (refused.status, refused.retry_after) == (429, 10)
    assert "wait 10 seconds" in refused.reason
    assert hooks.acquire(OTHER) is None
    await pass_time(refused.retry_after)
    assert hooks.acquire(ONE) is None
    assert hooks.acquire(ONE) is not None
