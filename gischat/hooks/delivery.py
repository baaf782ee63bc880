"""A POST to an external address: signed, bounded, and never to this machine or its private network.

A host name is resolved once, and the connection goes to the checked address, so that DNS rebinding has no effect.
Redirects are not followed, and proxies of the environment are not used.
"""

import hashlib
import hmac
import re
import socket
import time
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.netutil import DefaultLoopResolver
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from gischat import __version__
from gischat.bridges.errors import Delayed, Rejected, Trouble
from gischat.settings import Settings
from gischat.timings import Timings

ID, TIMESTAMP, SIGNATURE = "X-Gischat-Id", "X-Gischat-Timestamp", "X-Gischat-Signature"

MAX_ANSWER = 2**20  # bytes of an answer, which is discarded
MAX_HEADERS = 2**14
PASSING = frozenset({408, 425, 429})  # statuses 4xx that are temporary
_STATUS = re.compile(r"\AHTTP/1\.[01] ([1-5]\d\d)\b")
GLOBAL_UNICAST = IPv6Network("2000::/3")  # the only assigned range (RFC 4291 §2.4); Python lacks some exceptions
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: the last four bytes are an IPv4 address


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The signature of a body sent at that time, in seconds since the epoch."""
    return "sha256=" + hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()


def is_public(address: str) -> bool:
    """Whether an IP address is public, and so is the IPv4 address that it contains, if it does."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        for inner in (parsed.ipv4_mapped, parsed.sixtofour, parsed.teredo and parsed.teredo[1]):
            if inner is not None:
                return is_public(str(inner))
        if parsed in NAT64:
            return is_public(str(IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed not in GLOBAL_UNICAST:
            return False
    return parsed.is_global and not parsed.is_multicast


class PublicResolver(DefaultLoopResolver):
    """Resolves names to public addresses only, so that no others are connected to."""

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        found = await super().resolve(host, port, family)
        public = [(kind, address) for kind, address in found if is_public(address[0])]
        if not public:
            raise Rejected(f"{host} is not on the internet: OUTGOING_HOOKS_ALLOW_PRIVATE allows what is not")
        return public


class Delivery:
    """Posts messages to the addresses of outgoing hooks."""

    def __init__(self, settings: Settings, timings: Timings = Timings()) -> None:
        self._secret = settings.outgoing_hooks_secret
        self._seconds = timings.bridge_answer
        self._client = SimpleAsyncHTTPClient(
            force_instance=True,
            max_clients=len(settings.outgoing_hooks),
            resolver=DefaultLoopResolver() if settings.outgoing_hooks_allow_private else PublicResolver(),
            max_header_size=MAX_HEADERS,
            max_body_size=MAX_ANSWER,
        )

    def close(self) -> None:
        self._client.close()

    async def post(self, url: str, channel: str, id: str, message: bytes) -> None:
        """Post a message; every status 2xx is a success.

        Raises:
            Delayed: the address may accept it later.
            Rejected: the address will never accept it.
        """
        # The message is included as it is, without decoding and encoding.
        body = b'{"channel":%b,"message":%b}' % (msgspec.json.encode(channel), message)
        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"gischat/{__version__}",
            ID: id,
            TIMESTAMP: str(timestamp),
            SIGNATURE: sign(self._secret, timestamp, body),
        }
        request = HTTPRequest(
            url,
            "POST",
            headers,
            body,
            connect_timeout=self._seconds,
            request_timeout=self._seconds,
            follow_redirects=False,
            decompress_response=False,
            streaming_callback=lambda _: None,
            header_callback=lambda line: statuses.extend(map(int, _STATUS.findall(line))),
        )
        host, statuses = urlsplit(url).hostname, list[int]()
        try:
            answer = await self._client.fetch(request, raise_error=False)
        except Rejected:
            raise
        except Exception as error:  # of the network, of TLS, or of the answer's syntax: not a success
            if statuses and 200 <= statuses[-1] < 300:
                return  # the status was a success, whatever is wrong with the rest of the answer
            # Without the error's text, which may contain the URL.
            raise Delayed(Trouble.UNREACHABLE, f"{host} does not answer ({type(error).__name__})") from None
        _check(answer, f"{host} answers {answer.code}")


def _check(answer: HTTPResponse, reason: str) -> None:
    if 200 <= answer.code < 300:
        return
    if answer.code in PASSING or answer.code >= 500:
        trouble = Trouble.RATE_LIMITED if answer.code == 429 else Trouble.SERVER_ERROR
        raise Delayed(trouble, reason, _retry_after(answer.headers.get("Retry-After", "")))
    raise Rejected(f"{reason}: redirects are not followed" if 300 <= answer.code < 400 else reason)


def _retry_after(written: str) -> float | None:
    """Seconds, given as a number or as a date (RFC 9110 §10.2.3)."""
    try:
        return float(int(written)) if written.isdecimal() else parsedate_to_datetime(written).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
