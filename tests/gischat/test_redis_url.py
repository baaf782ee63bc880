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


WRONG = [
    ("localhost:6379", "redis+cluster://"),
    ("http://localhost", "redis+cluster://"),
    ("redis://", "redis+cluster://"),
    ("redis://localhost\n", "redis+cluster://"),
    ("unix+sentinel:///run/s", "redis+cluster://"),
    ("redis://localhost:http", "port"),
    ("redis://localhost:0", "port"),
    ("redis://localhost:65536", "port"),
    ("redis://localhost:-1", "port"),
    ("redis://::1", "port"),
    ("redis://[::1", "host"),
    ("redis+cluster://a:7000,b:x", "port"),
    ("redis://:pa/ss@localhost", "%2F"),
    ("redis://:12/34@localhost", "%2F"),
    ("redis://:pa?ss@localhost", "%3F"),
    ("redis://:12#34@localhost", "%23"),
    ("redis://localhost/chat", "database"),
    ("redis://localhost/-1", "database"),
    ("redis://localhost?db=x", "db: "),
    ("redis://a,b", "redis+sentinel://"),
    ("redis+sentinel://a,b", "service"),
    ("redis+sentinel://a,b/", "service"),
    ("redis+sentinel://a/chat/x", "database"),
    ("redis+cluster://a/1", "0"),
    ("redis://localhost?decode_responses=yes", "unknown option"),
    ("redis://localhost?ssl_ca_certs=/etc/ca.pem", "rediss://"),
    ("rediss://localhost?ssl_cert_reqs=never", "ssl_cert_reqs: "),
    ("rediss://localhost?ssl_check_hostname=maybe", "ssl_check_hostname: "),
    ("redis://localhost?sentinel_password=x", "redis+sentinel://"),
]


@pytest.mark.parametrize(("url", "names"), WRONG, ids=[url for url, _ in WRONG])
def test_what_is_wrong_with_a_url_is_named(url: str, names: str) -> None:
    with pytest.raises(WrongUrl) as raised:
        parse(url)
    assert names in str(raised.value)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize("url", ["kanarienvogel", "redis://:kanarienvogel/0@h", "redis://:x?kanarienvogel@h"])
def test_what_may_be_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(WrongUrl) as raised:
        parse(url)
    assert "kanarienvogel" not in str(raised.value)


def test_a_url_that_was_read_shows_no_secrets() -> None:
    read = parse("redis+sentinel://jane:kanarienvogel@a/chat?sentinel_password=kanarienvogel")
    assert "kanarienvogel" not in f"{read} {read!r}"
    assert str(read) == "a:26379"


def files(**named: Path) -> None:
    check_files(parse("rediss://localhost?" + "&".join(f"{name}={path}" for name, path in named.items())))


def test_certificates_that_serve_are_taken(tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    files(ssl_ca_certs=own.authority)
    files(ssl_ca_certs=own.authority, ssl_certfile=own.certificate, ssl_keyfile=own.key)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongUrl, match=rf"^{name}: .*missing\.pem: No such file"):
        files(**{name: tmp_path / "missing.pem"})


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("Hello!")
    with pytest.raises(WrongUrl, match="ssl_ca_certs"):
        files(ssl_ca_certs=tmp_path / "text.pem")


def test_a_key_of_another_certificate_is_named(tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    other = tmp_path / "other.pem"
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(str(other))
    with pytest.raises(WrongUrl, match="ssl_keyfile"):
        files(ssl_certfile=own.certificate, ssl_keyfile=other)
