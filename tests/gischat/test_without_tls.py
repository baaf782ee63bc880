"""A process whose settings need no TLS starts without OpenSSL; one whose settings need it has the real `ssl`."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from gischat.environment import Environment
from gischat.without_tls import Placeholder, needs_tls
from tests.support.processes import ROOT

LATER = """
import sys, gischat.without_tls, asyncio, uvloop, ssl, prometheus_client
try:
    ssl.create_default_context()
except RuntimeError as error:
    print(error, "_ssl" in sys.modules)
print(ssl.OP_ALL is not None, type(ssl.create_default_context()).__module__, sys.modules["ssl"].__name__)
"""

NEEDS_NONE = {
    "REDIS_URL": ["redis://h/0", "unix:///run/valkey.sock", "redis+cluster://a:1,b:2"],
    "SENTRY_DSN": [""],
}
NEEDS_TLS = {
    "REDIS_URL": ["rediss://h/0", "rediss+cluster://h", "redis+sentinel://h/main?sentinel_ssl=yes"],
    "SENTRY_DSN": ["https://key@errors.example/1"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["https://traces.example"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in NEEDS_NONE for value in NEEDS_NONE[name]])
def test_these_settings_need_no_tls(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not needs_tls(Environment())


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in NEEDS_TLS for value in NEEDS_TLS[name]])
def test_these_settings_need_tls(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert needs_tls(Environment())


def test_a_file_may_name_the_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("rediss://h/0")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    assert needs_tls(Environment())


def test_placeholders_have_the_values_of_the_real_names() -> None:
    assert Placeholder.SSL_ERROR_WANT_READ == ssl.SSL_ERROR_WANT_READ
    assert Placeholder.SSL_ERROR_WANT_WRITE == ssl.SSL_ERROR_WANT_WRITE
    assert Placeholder.SSL_ERROR_SYSCALL == ssl.SSL_ERROR_SYSCALL
    assert Placeholder.PROTOCOL_TLS_SERVER == ssl.PROTOCOL_TLS_SERVER
    assert Placeholder.PROTOCOL_TLS_CLIENT == ssl.PROTOCOL_TLS_CLIENT


@pytest.mark.processes
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h", "the settings need no TLS, so this process has started without False\nTrue ssl ssl\n"),
        ("rediss://h", "True ssl ssl\n"),
    ],
)
def test_openssl_is_loaded_at_once_where_it_is_needed_else_with_the_first_other_name(url: str, said: str) -> None:
    environment = {"REDIS_URL": url}
    ran = subprocess.run(
        [sys.executable, "-c", LATER], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == said
