"""Starts a process without OpenSSL if its settings need no TLS; must be imported first.

asyncio, uvloop, Tornado and prometheus_client import `ssl` for a few names. Here these are placeholders, which saves
4.5 MiB in each process, a seventh of an idle worker. Any other name loads the real module; uvloop then rejects its
contexts. Has no effect if `ssl` is already loaded.
"""

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from gischat.environment import Environment

OWN_HASHES = ("_md5", "_sha1", "_blake2")  # an interpreter may be built without, and takes all from OpenSSL


def create_default_context(*_: object, **__: object) -> None:
    raise RuntimeError("the settings need no TLS, so this process has started without")


class Placeholder(ModuleType):
    """`ssl` with the names that are needed on import."""

    SSLContext, SSLSocket, MemoryBIO, TLSVersion = (
        type(name, (), {}) for name in ("SSLContext", "SSLSocket", "MemoryBIO", "TLSVersion")
    )
    SSLError = type("SSLError", (OSError,), {})
    SSLWantReadError = type("SSLWantReadError", (SSLError,), {})
    SSLSyscallError = type("SSLSyscallError", (SSLError,), {})
    SSLZeroReturnError = type("SSLZeroReturnError", (SSLError,), {})
    CertificateError = type("CertificateError", (SSLError, ValueError), {})
    SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_SYSCALL = 2, 3, 5  # of OpenSSL's ssl.h
    PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER = 16, 17
    create_default_context = staticmethod(create_default_context)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get("ssl") is self:
            del sys.modules["ssl"]
        real = importlib.import_module("ssl")
        vars(self).update(vars(real))
        return getattr(real, name)


def needs_tls(env: Environment) -> bool:
    """Whether a front or worker may use TLS: to Redis, or to collectors of errors and traces."""
    url = env.text("REDIS_URL", "")
    collects = any(env.text(name, "") for name in ("SENTRY_DSN", "OTEL_EXPORTER_OTLP_ENDPOINT"))
    return "rediss" in url or "ssl" in url or collects


if "ssl" not in sys.modules and all(map(find_spec, OWN_HASHES)) and not needs_tls(Environment()):
    sys.modules["ssl"] = Placeholder("ssl")
    sys.modules.update(_hashlib=None, curses=None)  # type: ignore[call-overload] # their importers do without
