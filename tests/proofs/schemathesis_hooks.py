"""What schemathesis loads before it asks: each request comes from an address of its own.

A front that hears wrong tokens from an address does not hear that address for a while; every operation of the
moderators is asked with wrong tokens, and then with the right one.
"""

import itertools
from typing import Any

import schemathesis

SITES = itertools.count(1)  # a front counts by the /64


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Says what a trusted proxy would say."""
    if "/admin/" in case.path:
        case.headers["X-Forwarded-For"] = f"2001:db8:{next(SITES):x}::1"
