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

NEEDS_NONE = [
    *(("REDIS_URL", url) for url in ("redis://h/0", "unix:///run/valkey.sock", "redis+cluster://a:1,b:2")),
    ("SENTRY_DSN", ""),
]
NEEDS_TLS = [
    *(("REDIS_URL", url) for url in ("rediss://h/0", "rediss+cluster://h", "redis+sentinel://h/main?sentinel_ssl=yes")),
    ("SENTRY_DSN", "https://key@errors.example/1"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://traces.example"),
]


def test_some_settings_need_tls_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("rediss://h/0")
    for name, value in (*NEEDS_NONE, *NEEDS_TLS, ("REDIS_URL_FILE", str(tmp_path / "url"))):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            assert needs_tls(Environment()) is ((name, value) not in NEEDS_NONE), (name, value)


def test_placeholders_have_the_values_of_the_real_names() -> None:
    names = [f"SSL_ERROR_{name}" for name in ("WANT_READ", "WANT_WRITE", "SYSCALL")]
    for name in (*names, "PROTOCOL_TLS_SERVER", "PROTOCOL_TLS_CLIENT"):
        assert getattr(Placeholder, name) == getattr(ssl, name)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h", "the settings need no TLS, so this process has started without False\nTrue ssl ssl\n"),
        ("rediss://h", "True ssl ssl\n"),
    ],
)
def test_openssl_is_loaded_at_once_where_it_is_needed_else_with_the_first_other_name(url: str, said: str) -> None:
    command = [sys.executable, "-c", LATER]
    ran = subprocess.run(command, cwd=ROOT, env={"REDIS_URL": url}, capture_output=True, text=True, check=True)
    assert ran.stdout == said
