"""Explanations for operators of what goes wrong between us and Redis."""

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from gischat.broker.resp_errors import (
    AuthenticationError,
    BusyLoadingError,
    MasterNotFoundError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from gischat.diagnostics.findings import Finding, problem
from gischat.redis_url import ENCODE, RedisUrl

# Errors of a connection, and of a command without an answer.
FAILURES = (RedisError, OSError, TimeoutError)


def explained(subject: str, where: RedisUrl, error: BaseException) -> Finding:
    for kind, explain in _EXPLANATIONS:
        for cause in _causes(error):
            if isinstance(cause, kind):
                return problem(subject, *explain(where, cause))
    return problem(subject, str(error) or type(error).__name__, "see REDIS_URL, and its own log")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its chain of causes, the root cause last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


Explanation = tuple[str, str]  # message, remedy


def _untrusted(_: RedisUrl, error: Any) -> Explanation:
    return f"has a certificate that is not trusted: {error.verify_message}", "ssl_ca_certs=FILE in REDIS_URL"


def _no_tls(where: RedisUrl, error: Any) -> Explanation:
    if "REQUIRED" in str(error.reason):
        return "requires a client certificate", "ssl_certfile=FILE and ssl_keyfile=FILE in REDIS_URL"
    return f"does not speak TLS ({error.reason})", "redis:// instead of rediss://, or its port for TLS"


def _wrong_password(where: RedisUrl, _: Any) -> Explanation:
    if "password" in where.options:
        return "does not accept this user and password", ENCODE
    return "wants a password", "redis://user:password@host:port in REDIS_URL"


_EXPLANATIONS: tuple[tuple[type[BaseException], Callable[[RedisUrl, Any], Explanation]], ...] = (
    (ssl.SSLCertVerificationError, _untrusted),
    (ssl.SSLError, _no_tls),
    (MasterNotFoundError, lambda *_: ("no Sentinel knows a live master", "SENTINEL MASTERS, on each of them")),
    (AuthenticationError, _wrong_password),
    (NoPermissionError, lambda *_: ("does not let this user connect", "+client|setname, as in deploy/redis/users.acl")),
    (BusyLoadingError, lambda *_: ("is loading its data", "wait")),
    (ResponseError, lambda _, error: _answered(error)),
    (socket.gaierror, lambda *_: ("its name is not known", "the host in REDIS_URL")),
    (ConnectionRefusedError, lambda *_: ("nothing listens there", "start it; host and port in REDIS_URL; its `bind`")),
    (FileNotFoundError, lambda *_: ("there is no such socket", "start it; its `unixsocket`; the path in REDIS_URL")),
    (PermissionError, lambda *_: ("this user may not open it", "its `unixsocketperm`, and our user's group")),
    (TimeoutError, lambda *_: ("does not answer", "a firewall? its `bind`? host and port in REDIS_URL")),
    (ConnectionResetError, lambda where, _: _connection_closed(where)),
)


def _answered(error: ResponseError) -> Explanation:
    says = str(error)
    known = {
        "cluster support disabled": ("is in no cluster", "redis:// instead of redis+cluster://"),
        "unknown command 'SENTINEL'": ("is no Sentinel", "the Sentinels' addresses (port 26379), or redis:// alone"),
        "DB index": ("has no database of this number", "the number at the end of REDIS_URL; 0 is always there"),
    }
    found = (explanation for words, explanation in known.items() if words.lower() in says.lower())
    return next(found, (f"answers: {says}", "see REDIS_URL, and its own log"))


def _connection_closed(where: RedisUrl) -> Explanation:
    if not where.has_tls:
        return "closes the connection", "rediss:// if it requires TLS; its log"
    if "ssl_certfile" not in where.options:
        return "closes the connection", "ssl_certfile=FILE, ssl_keyfile=FILE in REDIS_URL, if it requires them; its log"
    return "closes the connection", "its log"
