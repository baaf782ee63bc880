"""Sites whose pages may use the chat, by the headers of browsers."""

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from gischat.front.auth.origins import FORWARD_HOST_HINT, Origins
from tests.support.settings import settings

HOST = "chat.example.org"


def request(origin: str | None, *, host: str = HOST, protocol: str = "http", **fetch: str) -> HTTPServerRequest:
    """A request; `protocol` is that given by a trusted proxy, http by default."""
    headers = HTTPHeaders({"Host": host, **fetch})
    if origin is not None:
        headers["Origin"] = origin
    made = HTTPServerRequest(start_line=RequestStartLine("PUT", "/", "HTTP/1.1"), headers=headers)
    made.protocol = protocol
    return made


def origins(*allowed: str) -> Origins:
    return Origins(settings(allowed_origins=allowed))


def test_a_request_without_an_origin_is_accepted() -> None:
    assert origins().admit(request(None))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://chat.example.org", "chat.example.org"),
        ("http://chat.example.org", "Chat.Example.org:80"),
        ("https://chat.example.org", "chat.example.org"),  # a proxy terminates TLS
        ("https://chat.example.org", "chat.example.org:443"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_our_own_pages_are_accepted(origin: str, host: str) -> None:
    assert origins().admit(request(origin, host=host))


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://chat.example.org.evil.example",
        "http://chat.example.org:8000",
        "https://chat.example.org:80",
        "moz-extension://chat.example.org",
        "file://",
        "null",
        "",
        "http://[",
        "http://chat.example.org, http://chat.example.org",
    ],
)
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    assert not origins().admit(request(origin))


def test_with_https_a_page_over_http_is_another_site() -> None:
    assert origins().admit(request(f"https://{HOST}", protocol="https"))
    assert not origins().admit(request(f"http://{HOST}", protocol="https"))


def test_same_origin_is_accepted_whatever_host_a_proxy_sends() -> None:
    told = {"Sec-Fetch-Site": "same-origin"}
    assert origins().admit(request("https://chat.example.org", host="10.0.0.7:8000", **told))
    assert not origins().admit(request("https://[", host="10.0.0.7:8000", **told))
    for other in ("same-site", "cross-site", "none"):
        assert not origins().admit(request("https://chat.example.org", host="10.0.0.7", **{"Sec-Fetch-Site": other}))


def test_only_allowed_origins_are_accepted() -> None:
    listed = origins("https://maps.example.org", "null")
    assert listed.admit(request("https://maps.example.org:443"))
    assert listed.admit(request("null"))
    assert listed.admit(request(f"http://{HOST}"))
    assert not listed.admit(request("http://maps.example.org"))
    assert not listed.admit(request("https://maps.example.org.evil.example"))


def test_a_star_allows_all_origins_but_no_invalid_ones() -> None:
    assert origins("*").admit(request("http://evil.example"))
    assert origins("*").admit(request("null"))
    assert not origins("*").admit(request("http://["))


def test_an_answer_allows_only_the_requests_origin() -> None:
    listed = origins("https://maps.example.org")
    assert listed.headers(request("https://maps.example.org")) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "https://maps.example.org",
    }
    for origin in ("http://evil.example", f"http://{HOST}", "null", "", None):
        assert listed.headers(request(origin)) == {"Vary": "Origin"}
    assert origins("*").headers(request("http://evil.example")) == {"Access-Control-Allow-Origin": "*"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "10.0.0.7", "[::1]:8000", "localhost:8000", "front:8000", "gischat"]
)
def test_for_a_proxy_that_replaces_the_host_the_log_gives_the_solution(host: str) -> None:
    advice = origins().advice(request("https://chat.example.org", host=host))
    assert "a page of https://chat.example.org was refused" in advice
    assert f"'Host: {host}'" in advice
    assert FORWARD_HOST_HINT in advice


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "", "http://" + "a" * 4000])
def test_for_other_sites_the_log_names_the_setting(origin: str) -> None:
    advice = origins().advice(request(origin))
    assert "ALLOWED_ORIGINS" in advice
    assert FORWARD_HOST_HINT not in advice
    assert len(advice) < 250
