"""Who may read the metrics: this machine itself, and who brings the token."""

from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from gischat.observability.scraping import is_allowed

TOKEN = "0123456789abcdef"
HERE, ELSEWHERE = "127.0.0.1", "192.0.2.1"


class Asked:
    """What is looked at of a request."""

    def __init__(self, address: str, **headers: str) -> None:
        self.remote_ip, self.headers = address, HTTPHeaders(headers)


@pytest.mark.parametrize("token", ["", TOKEN])
def test_this_machine_may_and_others_may_not(token: str) -> None:
    def is_let_in(address: str) -> bool:
        asked: Any = Asked(address)
        return is_allowed(asked, token)

    assert all(map(is_let_in, [HERE, "127.8.9.10", "::1", "::ffff:127.0.0.1"]))
    others = [ELSEWHERE, "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "", "unix"]
    assert not any(map(is_let_in, others))


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "X-Real-IP", "Via"])
@pytest.mark.parametrize("value", [ELSEWHERE, HERE, ""])
def test_who_comes_through_a_proxy_of_this_machine_is_not_this_machine(name: str, value: str) -> None:
    asked: Any = Asked(HERE, **{name: value})
    assert not is_allowed(asked, TOKEN)


@pytest.mark.parametrize(
    ("given", "token", "may"),
    [
        *((f"{scheme} {TOKEN}", TOKEN, True) for scheme in ("Bearer", "bearer")),
        *((f"Bearer {wrong}", TOKEN, False) for wrong in ("", TOKEN + "x", TOKEN[:-1], "é")),
        *((given, TOKEN, False) for given in ("", "Bearer", f"Basic {TOKEN}", TOKEN)),
        *((given, "", False) for given in ("", "Bearer", "Bearer ")),  # where no token is set none fits
    ],
)
def test_who_brings_the_token_may_from_anywhere(given: str, token: str, may: bool) -> None:
    for through_a_proxy in ({}, {"X-Forwarded-For": ELSEWHERE}):
        asked: Any = Asked(ELSEWHERE, Authorization=given, **through_a_proxy)
        assert is_allowed(asked, token) is may
