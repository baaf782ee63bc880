"""Access to private channels by a request's token or key."""

import time

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from gischat.broker.access_keys import access_key, new_secret
from gischat.front.auth.access_keys import has_wrong_key, take_from_path
from gischat.front.auth.channel_auth import INVALID_TOKEN, WRONG_KEY, ChannelAuth
from tests.support.settings import settings

PRIVATE = "Été à la mer"
TOKENS = ((PRIVATE, "s3cret:of+ours"), (PRIVATE, "clé 鍵"), ("Other", "another"))


@pytest.fixture
def access() -> ChannelAuth:
    return ChannelAuth(settings(channels=("QGIS", PRIVATE, "Other"), channel_tokens=TOKENS))


def request(*, query: str = "", authorization: str | None = None) -> HTTPServerRequest:
    """A request as Tornado reads it: headers are decoded as Latin-1."""
    headers = HTTPHeaders({"Host": "chat.example.org"})
    if authorization is not None:
        headers["Authorization"] = authorization.encode().decode("latin-1")
    line = RequestStartLine("GET", f"/channel/x/ws?{query}", "HTTP/1.1")
    return HTTPServerRequest(start_line=line, headers=headers)


WRONG = ["x", "s3cret:of+ours", "anothe", "another1", "Another", "%ff%fe", "%00", "a" * 5000]


@pytest.mark.parametrize("token", WRONG)
def test_a_wrong_token_is_refused(access: ChannelAuth, token: str) -> None:
    for shown in (request(query=f"token={token}"), request(authorization=f"Bearer {token}")):
        denial = access.denial("Other", shown)
        assert denial is not None
        assert denial.reason == "Channel 'Other' is private: this token is not valid."
        assert denial.challenge.endswith('error="invalid_token"')


def test_a_request_counts_as_one_guess(access: ChannelAuth) -> None:
    assert access.denial("Other", request(query="token=another&token=wrong")) is not None
    assert access.denial("Other", request(authorization="Bearer wrong another")) is not None


# Keys in URLs


def key_for(access: ChannelAuth, *channels: str, seconds: float = 60) -> str:
    secret, until = new_secret(), int(time.time() + seconds)
    for channel in channels:
        access.keys.replace(channel, [access_key(secret, since=0, until=until, by="", note="")])
    return secret


def keyed(access: ChannelAuth, path: str) -> HTTPServerRequest:
    headers = HTTPHeaders({"Host": "chat.example.org"})
    asked = HTTPServerRequest(start_line=RequestStartLine("GET", path, "HTTP/1.1"), headers=headers)
    take_from_path(asked, access.keys)
    return asked


def test_a_key_opens_its_channels_and_lists_them_with_the_public_ones(access: ChannelAuth) -> None:
    asked = keyed(access, f"/k/{key_for(access, PRIVATE)}/channels")
    assert access.denial(PRIVATE, asked) is None
    assert access.denial("QGIS", asked) is None
    denied = access.denial("Other", asked)
    assert denied is not None
    assert "your key is not for it" in denied.reason
    assert access.listed(("QGIS", PRIVATE, "Other"), asked) == ["QGIS", PRIVATE]
    assert access.listed(("QGIS", PRIVATE, "Other"), request()) == ["QGIS", PRIVATE, "Other"]


@pytest.mark.parametrize("seconds", [60, 0], ids=["tampered", "ended"])
def test_an_invalid_key_opens_nothing_not_even_public_channels(access: ChannelAuth, seconds: float) -> None:
    secret = key_for(access, PRIVATE, seconds=seconds)
    asked = keyed(access, f"/k/{secret if not seconds else secret[:-1] + 'x'}/rules")
    assert has_wrong_key(asked)
    assert {access.denial(channel, asked) for channel in (PRIVATE, "QGIS")} == {(WRONG_KEY, INVALID_TOKEN, "")}


def test_a_token_is_not_accepted_as_a_key(access: ChannelAuth) -> None:
    assert has_wrong_key(keyed(access, "/k/another/channel/Other/ws"))
