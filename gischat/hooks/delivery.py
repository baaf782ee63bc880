"""One POST to an address outside: signed, bounded, and never to where only this machine or its network is.

A name is looked up once, and what it was found to be is what is connected to: a name that is something else the next
time (DNS rebinding) gains nothing. Redirects are not followed, a proxy of the environment is not used.
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

MAX_ANSWER = 2**20  # bytes of an answer, which are dropped as they come
MAX_HEADERS = 2**14
PASSING = frozenset({408, 425, 429})  # of the statuses that say that the request is wrong: these pass
_STATUS = re.compile(r"\AHTTP/1\.[01] ([1-5]\d\d)\b")
GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 §2.4: nothing else is given out; Python knows not all exceptions
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1: the last four bytes are an IPv4 address


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The signature of a body that is sent at a time, in seconds since the epoch."""
    return "sha256=" + hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256).hexdigest()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, and so is the one that it stands for, if it does."""
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
    """Finds public addresses alone: whoever connects has no others to connect to."""

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        found = await super().resolve(host, port, family)
        public = [(kind, address) for kind, address in found if is_public(address[0])]
        if not public:
            raise Rejected(f"{host} is not on the internet: OUTGOING_HOOKS_ALLOW_PRIVATE allows what is not")
        return public


class Delivery:
    """Posts messages to addresses."""

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
        """Posts a message; any answer that says yes is one.

        Raises:
            Delayed: it may be taken later.
            Rejected: it never will be.
        """
        # As on the wire: nothing is read to be written again.
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
        except Exception as error:  # of the network, of TLS, of an answer that is none: whatever it is, it was no yes
            if statuses and 200 <= statuses[-1] < 300:
                return  # it has taken it, whatever was wrong with the rest of its answer
            # Not its text, which may hold the address.
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
    """Seconds, written as such or as a date (RFC 9110 §10.2.3)."""
    try:
        return float(int(written)) if written.isdecimal() else parsedate_to_datetime(written).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
