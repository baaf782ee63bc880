"""Who may read the metrics: this machine itself, and who brings the token."""

from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from gischat.observability.scraping import is_allowed

TOKEN = "0123456789abcdef"


def asked(address: str, **headers: str) -> Any:
    """What is looked at of a request."""
    return SimpleNamespace(remote_ip=address, headers=HTTPHeaders(headers))


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may(address: str, token: str) -> None:
    assert is_allowed(asked(address), token)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0", "", "unix"])
@pytest.mark.parametrize("token", ["", TOKEN])
def test_others_may_not(address: str, token: str) -> None:
    assert not is_allowed(asked(address), token)


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "X-Real-IP", "Via"])
@pytest.mark.parametrize("value", ["192.0.2.1", "127.0.0.1", ""])
def test_who_comes_through_a_proxy_of_this_machine_is_not_this_machine(name: str, value: str) -> None:
    assert not is_allowed(asked("127.0.0.1", **{name: value}), TOKEN)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "192.0.2.1"}])
def test_who_brings_the_token_may_from_anywhere(scheme: str, headers: dict[str, str]) -> None:
    assert is_allowed(asked("192.0.2.1", Authorization=f"{scheme} {TOKEN}", **headers), TOKEN)


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer é", f"Bearer {TOKEN[:-1]}"]
)
def test_who_brings_something_else_may_not(given: str) -> None:
    assert not is_allowed(asked("192.0.2.1", Authorization=given), TOKEN)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer "])
def test_where_no_token_is_set_none_fits(given: str) -> None:
    assert not is_allowed(asked("192.0.2.1", Authorization=given), "")
