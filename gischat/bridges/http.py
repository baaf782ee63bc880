"""Requests to another chat's server. Errors contain no URLs, which may hold a token."""

import ssl
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from tornado.httpclient import HTTPClientError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError, SimpleAsyncHTTPClient

from gischat.bridges.errors import Delayed, TooLarge, Trouble
from gischat.timings import Timings

JSON = "application/json"


class HttpClient:
    """Connections to one server, whose answers have a maximum size. Redirects are not followed."""

    def __init__(
        self, server: str, url: str, timings: Timings, max_bytes: int, *, token: str = "", of_files: bool = False
    ) -> None:
        """Create it.

        Args:
            server: its name in errors.
            url: precedes all paths.
            token: a bearer token.
            of_files: the answers are files, of which few are fetched at a time; a large one is no fault of the server.
        """
        self._server = server
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._max_bytes = max_bytes
        self._of_files = of_files
        # Not decompressed, so that a small answer cannot become a large one.
        defaults = {"connect_timeout": timings.bridge_answer, "follow_redirects": False, "decompress_response": False}
        self._client = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=4 if of_files else 10, defaults=defaults, max_body_size=max_bytes
        )

    async def fetch(
        self,
        method: str,
        path: str,
        failure: Callable[[HTTPClientError], Exception],
        seconds: float,
        body: bytes | None = None,
        content_type: str = JSON,
    ) -> bytes:
        """Send a request, and wait for so many seconds; returns the body of an answer 2xx.

        Raises:
            Delayed: the server cannot be reached.
            TooLarge: a file is larger than permitted.
            Exception: that which `failure` returns for another answer.
        """
        head: list[str] = []
        try:
            response = await self._client.fetch(
                self._url + path,
                method=method,
                headers={**self._headers, "Content-Type": content_type},
                body=body,
                request_timeout=seconds,
                header_callback=head.append,
            )
            return response.body
        except HTTPTimeoutError:
            reason = "does not answer in time"
        except HTTPStreamClosedError:
            if self._of_files and _may_exceed(head, self._max_bytes):  # the client closes such answers
                raise TooLarge("its file is too large, or broke off") from None
            reason = "closed the connection"
        except HTTPClientError as error:
            raise failure(error) from None
        except (OSError, ssl.SSLError, ValueError, UnicodeError) as error:
            reason = f"cannot be reached: {type(error).__name__}"
        raise Delayed(Trouble.UNREACHABLE, f"{self._server} {reason}")


def _may_exceed(head: Sequence[str], most: int) -> bool:
    """Whether an answer may be longer, according to its head; True without a length."""
    lengths = [line.partition(":")[2].strip() for line in head if line.lower().startswith("content-length:")]
    return bool(head) and not (lengths and lengths[0].isdecimal() and int(lengths[0]) <= most)


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object of a body; None if it contains none."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return content if isinstance(content, dict) else None


def error_body(error: HTTPClientError) -> dict[str, Any]:
    """The JSON object of an answer that reports an error; empty if it contains none."""
    return (json_object(error.response.body) if error.response else None) or {}
