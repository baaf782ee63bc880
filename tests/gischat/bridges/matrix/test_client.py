"""What a homeserver may do that Synapse cannot be made to: it lies, redirects, breaks off, answers nonsense."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from gischat.bridges.errors import Delayed, Rejected, TooLarge, Trouble
from gischat.bridges.matrix.client import MatrixClient
from gischat.timings import Timings
from tests.support.processes import HOST, free_port

Answer = Callable[[RequestHandler], None]
TOKEN = "a-token"


class Homeserver:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda handler: handler.write({})
        self.asked: list[Any] = []
        self.server, port = HTTPServer(Application([(".*", Handler, {"homeserver": self})])), free_port()
        self.server.listen(port, HOST)
        self.url = f"http://{HOST}:{port}"


class Handler(RequestHandler):
    def initialize(self, homeserver: Homeserver) -> None:
        self._homeserver = homeserver

    async def prepare(self) -> None:
        self._homeserver.asked.append(self.request)
        self._homeserver.answer(self)
        if not self._finished:
            await self.finish()


@pytest.fixture
def homeserver(io_loop: Any) -> Iterator[Homeserver]:
    homeserver = Homeserver()
    yield homeserver
    homeserver.server.stop()


def client(homeserver: Homeserver, answer_seconds: float = 20.0) -> MatrixClient:
    return MatrixClient(homeserver.url, TOKEN, Timings(bridge_answer=answer_seconds), max_file_bytes=1000)


def answering(status: int, content: Any = None, **headers: str) -> Answer:
    def answer(handler: RequestHandler) -> None:
        handler.set_status(status)
        for name, value in headers.items():
            handler.set_header(name.replace("_", "-"), value)
        handler.write(content if content is not None else {})

    return answer


@pytest.mark.parametrize(
    ("answer", "trouble", "after"),
    [
        (answering(429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}), Trouble.RATE_LIMITED, 1.5),
        (answering(429, {"errcode": "M_LIMIT_EXCEEDED"}, Retry_After="7"), Trouble.RATE_LIMITED, 7.0),
        (answering(429, {"retry_after_ms": 1e300}), Trouble.RATE_LIMITED, 600.0),  # not for ever
        (answering(401, {"errcode": "M_UNKNOWN_TOKEN"}), Trouble.UNAUTHORIZED, None),
        (answering(403, {"errcode": "M_FORBIDDEN"}), Trouble.NO_ROOM, None),
        (answering(502, "<html>bad gateway"), Trouble.SERVER_ERROR, None),
        (answering(302, Location="http://127.0.0.1:1/"), Trouble.SERVER_ERROR, None),
        (answering(200, "no JSON"), Trouble.SERVER_ERROR, None),
        (answering(200, {"event_id": 7}), Trouble.SERVER_ERROR, None),
    ],
)
async def test_what_may_pass_is_tried_again(
    homeserver: Homeserver, answer: Answer, trouble: Trouble, after: float | None
) -> None:
    homeserver.answer = answer
    with pytest.raises(Delayed) as caught:
        await client(homeserver).send("!room:x", "m.room.message", "t1", {"body": "secret words"})
    assert (caught.value.trouble, caught.value.after) == (trouble, after)
    # Neither the token nor what was said is in what an operator reads
    assert TOKEN not in str(caught.value)
    assert len(homeserver.asked) == 1  # the token goes nowhere else


async def test_what_will_never_pass_is_rejected(homeserver: Homeserver) -> None:
    homeserver.answer = answering(413, {"errcode": "M_TOO_LARGE", "error": "words"})
    with pytest.raises(Rejected, match="413 M_TOO_LARGE"):
        await client(homeserver).upload(b"x", "text/plain", "x.txt")


async def test_an_answer_that_does_not_come_is_not_waited_for_without_end(homeserver: Homeserver) -> None:
    homeserver.answer = lambda handler: setattr(handler, "_finished", True)  # and so nothing is sent
    with pytest.raises(Delayed) as caught:
        await client(homeserver, answer_seconds=0.1).whoami()
    assert caught.value.trouble is Trouble.UNREACHABLE


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_file_that_is_larger_than_it_may_be_is_not_taken(homeserver: Homeserver, is_chunked: bool) -> None:
    def answer(handler: RequestHandler) -> None:
        for _ in range(50):
            handler.write(b"x" * 1000)
            if is_chunked:
                handler.flush()

    homeserver.answer = answer
    with pytest.raises(TooLarge):
        await client(homeserver).download("mxc://x/y")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"])
async def test_a_file_that_breaks_off_is_asked_for_again(homeserver: Homeserver, sent: bytes) -> None:
    def answer(handler: RequestHandler) -> None:
        stream = handler.detach()
        stream.write(sent).add_done_callback(lambda _: stream.close())

    homeserver.answer = answer
    with pytest.raises(Delayed):
        await client(homeserver).download("mxc://x/y")


async def test_an_old_homeserver_is_asked_in_the_old_way_and_a_packed_file_taken_as_it_is(
    homeserver: Homeserver,
) -> None:
    def answer(handler: RequestHandler) -> None:
        is_old = str(handler.request.path).startswith("/_matrix/media/v3/download/x/y")
        content = b"packed" if is_old else {"errcode": "M_UNRECOGNIZED"}
        answering(200 if is_old else 404, content, **({"Content_Encoding": "gzip"} if is_old else {}))(handler)

    homeserver.answer = answer
    assert await client(homeserver).download("mxc://x/y") == b"packed"


@pytest.mark.parametrize("address", ["", "mxc://", "mxc://x", "mxc://x/y/z", "http://127.0.0.1/x"])
async def test_what_is_no_address_of_a_file_is_not_asked_for(homeserver: Homeserver, address: str) -> None:
    with pytest.raises(Rejected):
        await client(homeserver).download(address)
    assert homeserver.asked == []
