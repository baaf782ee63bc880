"""Sites whose pages may use the chat, by the headers of browsers."""

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from gischat.front.auth.origins import FORWARD_HOST_HINT, Origins
from tests.support.settings import settings

HOST = "chat.example.org"
SITE = "Sec-Fetch-Site"


def request(origin: str | None, *, host: str = HOST, protocol: str = "http", site: str = "") -> HTTPServerRequest:
    """A request; `protocol` is that given by a trusted proxy, http by default."""
    headers = HTTPHeaders({"Host": host} | ({SITE: site} if site else {}))
    if origin is not None:
        headers["Origin"] = origin
    made = HTTPServerRequest(start_line=RequestStartLine("PUT", "/", "HTTP/1.1"), headers=headers)
    made.protocol = protocol
    return made


def origins(*allowed: str) -> Origins:
    return Origins(settings(allowed_origins=allowed))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, HOST),
        ("http://chat.example.org", "Chat.Example.org:80"),
        ("https://chat.example.org", "chat.example.org"),  # a proxy terminates TLS
        ("https://chat.example.org", "chat.example.org:443"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_our_own_pages_and_requests_of_no_page_are_accepted(origin: str | None, host: str) -> None:
    assert origins().admit(request(origin, host=host))


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "http://chat.example.org.evil.example", "http://chat.example.org:8000"),
        *("https://chat.example.org:80", "moz-extension://chat.example.org", "file://", "null", "", "http://["),
        "http://chat.example.org, http://chat.example.org",
    ],
)
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    assert not origins().admit(request(origin))


def test_with_https_a_page_over_http_is_another_site() -> None:
    assert origins().admit(request(f"https://{HOST}", protocol="https"))
    assert not origins().admit(request(f"http://{HOST}", protocol="https"))


def test_same_origin_is_accepted_whatever_host_a_proxy_sends() -> None:
    def admits(site: str, origin: str = "https://chat.example.org") -> bool:
        return origins().admit(request(origin, host="10.0.0.7:8000", site=site))

    assert admits("same-origin")
    assert not admits("same-origin", "https://[")
    assert not any(map(admits, ("same-site", "cross-site", "none")))


def test_allowed_origins_are_accepted_and_no_others() -> None:
    listed = origins("https://maps.example.org", "null")
    assert all(map(listed.admit, map(request, ("https://maps.example.org:443", "null", f"http://{HOST}"))))
    assert not any(
        map(listed.admit, map(request, ("http://maps.example.org", "https://maps.example.org.evil.example")))
    )
    assert all(map(origins("*").admit, map(request, ("http://evil.example", "null"))))
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


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "10.0.0.7", "[::1]:8000", "gischat"])
def test_for_a_proxy_that_replaces_the_host_the_log_gives_the_solution(host: str) -> None:
    advice = origins().advice(request("https://chat.example.org", host=host))
    assert "a page of https://chat.example.org was refused" in advice
    assert f"'Host: {host}'" in advice
    assert FORWARD_HOST_HINT in advice


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://" + "a" * 4000])
def test_for_other_sites_the_log_names_the_setting(origin: str) -> None:
    advice = origins().advice(request(origin))
    assert "ALLOWED_ORIGINS" in advice
    assert FORWARD_HOST_HINT not in advice
    assert len(advice) < 250
