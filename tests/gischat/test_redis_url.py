"""What `REDIS_URL` may say, what it means, and how an operator is told what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest
import trustme

from gischat.redis_url import Kind, Node, RedisUrl, WrongUrl, check_files, parse
from tests.support.certificates import Certificates

HERE = (Node("localhost", 6379),)


def meaning(url: str) -> dict[str, Any]:
    """What a URL means, without what it leaves empty."""
    read = parse(url)
    told = {name: getattr(read, name) for name in RedisUrl.__slots__}
    return {name: value for name, value in told.items() if value}


MEANINGS: list[tuple[str, dict[str, Any]]] = [
    ("redis://localhost", {"nodes": HERE}),
    ("redis:///0", {"nodes": HERE, "options": {"db": 0}}),
    ("redis://example.org:6380/3", {"nodes": (Node("example.org", 6380),), "options": {"db": 3}}),
    ("redis://[::1]:6380", {"nodes": (Node("::1", 6380),)}),
    ("redis://[::1]", {"nodes": (Node("::1", 6379),)}),
    ("redis://:secret@localhost", {"nodes": HERE, "options": {"password": "secret"}}),
    ("redis://jane:p%40s%2Fs%25@localhost", {"nodes": HERE, "options": {"username": "jane", "password": "p@s/s%"}}),
    ("redis://jane@localhost?password=s%26p", {"nodes": HERE, "options": {"username": "jane", "password": "s&p"}}),
    ("redis://jane:a@b@localhost", {"nodes": HERE, "options": {"username": "jane", "password": "a@b"}}),
    ("rediss://localhost?ssl_check_hostname=no&ssl_cert_reqs=none",
     {"nodes": HERE, "has_tls": True, "options": {"ssl_check_hostname": False, "ssl_cert_reqs": "none"}}),
    ("unix:///run/a%20b/valkey.sock?db=1", {"path": "/run/a b/valkey.sock", "options": {"db": 1}}),
    ("unix://jane:secret@/run/s", {"path": "/run/s", "options": {"username": "jane", "password": "secret"}}),
    ("redis+sentinel://a,b:26380,[::1]/the%20chat/2",
     {"kind": Kind.SENTINEL, "nodes": (Node("a", 26379), Node("b", 26380), Node("::1", 26379)), "service": "the chat",
      "options": {"db": 2}}),
    ("redis+sentinel://:s@a/chat?sentinel_username=watch&sentinel_password=t%3F",
     {"kind": Kind.SENTINEL, "nodes": (Node("a", 26379),), "service": "chat", "options": {"password": "s"},
      "sentinel_options": {"username": "watch", "password": "t?"}}),
    ("rediss+sentinel://a/chat?ssl_check_hostname=no",
     {"kind": Kind.SENTINEL, "has_tls": True, "nodes": (Node("a", 26379),), "service": "chat",
      "options": {"ssl_check_hostname": False}, "sentinel_options": {"ssl": True, "ssl_check_hostname": False}}),
    ("rediss+sentinel://a/chat?sentinel_ssl=no",
     {"kind": Kind.SENTINEL, "has_tls": True, "nodes": (Node("a", 26379),), "service": "chat"}),
    ("redis+cluster://a:7000,b", {"kind": Kind.CLUSTER, "nodes": (Node("a", 7000), Node("b", 6379))}),
    ("rediss+cluster://:secret@a/0",
     {"kind": Kind.CLUSTER, "has_tls": True, "nodes": (Node("a", 6379),), "options": {"password": "secret", "db": 0}}),
]  # fmt: skip


@pytest.mark.parametrize(("url", "means"), MEANINGS, ids=[url for url, _ in MEANINGS])
def test_a_url_is_read_as_it_is_meant(url: str, means: dict[str, Any]) -> None:
    assert meaning(url) == {"kind": Kind.SERVER, **means}


# By what is named
WRONG = {
    "redis+cluster://": [
        "localhost:6379", "http://localhost", "redis://", "redis://localhost\n", "unix+sentinel:///run/s",
    ],
    "port": [
        *(f"redis://localhost:{port}" for port in ("http", 0, 65536, -1)), "redis://::1", "redis+cluster://a:7000,b:x",
    ],
    "host": ["redis://[::1"],
    "%2F": ["redis://:pa/ss@localhost", "redis://:12/34@localhost"],
    "%3F": ["redis://:pa?ss@localhost"],
    "%23": ["redis://:12#34@localhost"],
    "database": ["redis://localhost/chat", "redis://localhost/-1", "redis+sentinel://a/chat/x"],
    "db: ": ["redis://localhost?db=x"],
    "redis+sentinel://": ["redis://a,b", "redis://localhost?sentinel_password=x"],
    "service": ["redis+sentinel://a,b", "redis+sentinel://a,b/"],
    "0": ["redis+cluster://a/1"],
    "unknown option": ["redis://localhost?decode_responses=yes"],
    "rediss://": ["redis://localhost?ssl_ca_certs=/etc/ca.pem"],
    "ssl_cert_reqs: ": ["rediss://localhost?ssl_cert_reqs=never"],
    "ssl_check_hostname: ": ["rediss://localhost?ssl_check_hostname=maybe"],
}  # fmt: skip


@pytest.mark.parametrize(("url", "named"), [(url, named) for named, urls in WRONG.items() for url in urls])
def test_what_is_wrong_with_a_url_is_named(url: str, named: str) -> None:
    with pytest.raises(WrongUrl) as raised:
        parse(url)
    assert named in str(raised.value)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize("url", ["kanarienvogel", "redis://:kanarienvogel/0@h", "redis://:x?kanarienvogel@h"])
def test_what_may_be_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(WrongUrl) as raised:
        parse(url)
    assert "kanarienvogel" not in str(raised.value)
    read = parse("redis+sentinel://jane:kanarienvogel@a/chat?sentinel_password=kanarienvogel")
    assert "kanarienvogel" not in f"{read} {read!r}"
    assert str(read) == "a:26379"


def files(**named: Path) -> None:
    check_files(parse("rediss://localhost?" + "&".join(f"{name}={path}" for name, path in named.items())))


def test_certificates_that_serve_are_taken_and_others_named(tmp_path: Path) -> None:
    own, other, text, missing = Certificates(tmp_path), *(tmp_path / f"{name}.pem" for name in ("other", "text", "no"))
    files(ssl_ca_certs=own.authority)
    files(ssl_ca_certs=own.authority, ssl_certfile=own.certificate, ssl_keyfile=own.key)
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        with pytest.raises(WrongUrl, match=rf"^{name}: .*no\.pem: No such file"):
            files(**{name: missing})
    text.write_text("Hello!")
    with pytest.raises(WrongUrl, match="ssl_ca_certs"):
        files(ssl_ca_certs=text)
    # A key of another certificate
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(other))
    with pytest.raises(WrongUrl, match="ssl_keyfile"):
        files(ssl_certfile=own.certificate, ssl_keyfile=other)
