"""Log lines of requests without secrets, and the ids of requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from gischat.front.auth.access_keys import AccessKeys, take_from_path
from gischat.front.handlers.access_log import identify, request_id, shown_path


def request(uri: str = "/", **headers: str) -> HTTPServerRequest:
    given = HTTPHeaders({"Host": "localhost"})
    for name, value in headers.items():
        given[name.replace("_", "-")] = value
    return HTTPServerRequest(start_line=RequestStartLine("GET", uri, "HTTP/1.1"), headers=given)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/channels", "/channels"),
        ("/channel/Field%20and%20mobile/last", "/channel/Field%20and%20mobile/last"),
        ("/channel/QGIS/ws?after=0b8a-4c", "/channel/QGIS/ws?after=0b8a-4c"),
        ("/channel/QGIS/ws?token=opensesame", "/channel/QGIS/ws?token=***"),
        ("/channel/QGIS/ws?token=opensesame&after=0b8a", "/channel/QGIS/ws?after=0b8a&token=***"),
        ("/channel/QGIS/ws?after=my%20own%20words", "/channel/QGIS/ws?after=***"),
        ("/channel/QGIS/ws?after=a&after=opensesame%20", "/channel/QGIS/ws?after=***"),
        ("/channel/QGIS/ws?opensesame", "/channel/QGIS/ws?***"),
        ("/channel/QGIS/ws?TOKEN=opensesame&after=0b8a", "/channel/QGIS/ws?after=0b8a&***"),
        ("/channel/QGIS/ws?token=%ff%fe;token=opensesame", "/channel/QGIS/ws?token=***"),
        ("/channel/QGIS/ws?&&", "/channel/QGIS/ws?***"),
        # Keys: valid, mistyped, duplicated, and in place of their id
        ("/k/opensesame/channel/QGIS/ws?after=0b8a", "/k/…?after=0b8a"),
        ("/k//opensesame", "/k/…"),
        ("/K/opensesame/rules", "/K/…/rules"),
        ("/k/opensesame/k/opensesame/rules", "/k/…"),
        ("/a/path/k/opensesame", "/a/path/k/…"),
        ("/k" + 4 * "0123456789" + "/rules", "/k…/rules"),
        ("/admin/keys/" + 4 * "0123456789", "/admin/keys/…"),
        ("/k%2f" + 4 * "0123456789" + "/rules", "/k%…/rules"),
        ("/admin/keys/0123456789ab", "/admin/keys/0123456789ab"),
        ("/hooks/opensesame", "/hooks/***"),
        ("/hooks%2fopensesame", "/hooks***"),
        ("/a/Webhook/opensesame", "/a/Webhook/***"),
        ("/channel/Fishhooks/last", "/channel/Fishhooks/last"),
        ('/a"b\\c', "/a%22b%5Cc"),
        ("/" + 300 * "z", "/" + 199 * "z"),
    ],
)
def test_possible_secrets_in_a_query_are_hidden(uri: str, shown: str) -> None:
    asked = request(uri)
    take_from_path(asked, AccessKeys())
    assert shown_path(asked) == shown


SEGMENTS = st.lists(st.text("kK/%. é~", max_size=6), max_size=4).map("/".join)


@given(before=SEGMENTS, slashes=st.text("/", min_size=1, max_size=3), key=st.sampled_from("kK"), after=SEGMENTS)
def test_keys_in_paths_are_hidden(before: str, slashes: str, key: str, after: str) -> None:
    asked = request(f"/{before}/{key}{slashes}opensesame/{after}")
    take_from_path(asked, AccessKeys())
    assert "opensesame" not in shown_path(asked)


INVALID = ["", "short", "with spaces in it", "x" * 129, "kanarienvögel", 'quote"quote"']


@pytest.mark.parametrize(
    ("given", "is_vouched_for", "is_used"),
    [("7f0c1b2a-9d8e", True, True), ("7f0c1b2a-9d8e", False, False), *((id, True, False) for id in INVALID)],
)
def test_only_a_valid_id_of_a_trusted_proxy_is_used(given: str, is_vouched_for: bool, is_used: bool) -> None:
    named = request(X_Request_ID=given)
    identify(named, is_vouched_for=is_vouched_for)
    assert (request_id(named) == given) == is_used
    assert request_id(named).replace("-", "").isalnum()
