"""Server-sent events: a channel's messages for clients that only read, here the real `curl -N`."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from tests.conftest import Join
from tests.support.contract import CANARY, sample
from tests.support.events import EventsReader
from tests.support.processes import HOST, Stack
from tests.support.rest import Rest, channel_path, eventually
from tests.support.scrape import Scrape

PRIVATE = "Été"
TOKEN = f"{CANARY}-token"
CHANNELS = [f"c{number}" for number in range(10)]
CONNECTIONS = 6  # per address
UNREAD = 500_000

Read = Callable[..., Awaitable[EventsReader]]


@pytest.fixture(scope="module")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    with open_stack(
        heavy=0,
        channels=",".join([*CHANNELS, PRIVATE]),
        channel_tokens=f"{PRIVATE}:{TOKEN}",
        max_connections_per_address=CONNECTIONS,
        max_unread_bytes=UNREAD,
        ws_ping_interval=1,
    ) as stack:
        yield stack
    stack.assert_quiet_logs()


@pytest.fixture(scope="module")
def fresh_channels() -> Iterator[str]:
    return iter(CHANNELS)


@pytest.fixture
def read(io_loop: IOLoop, stack: Stack) -> Iterator[Read]:
    """Opens streams that end with the test: `await read(channel, "--header", …, query="?after=…")`."""
    readers: list[EventsReader] = []

    async def read(channel: str, *arguments: str, query: str = "") -> EventsReader:
        url = stack.fronts[0].url + channel_path(channel, "events") + query
        readers.append(await EventsReader.open(url, *arguments))
        return readers[-1]

    async def leave() -> None:
        await asyncio.gather(*(reader.leave() for reader in readers))

    yield read
    io_loop.run_sync(leave)


async def test_a_reader_receives_the_history_and_all_later_messages(channel: str, join: Join, read: Read) -> None:
    # Given a client that has sent messages, and sends more while readers connect
    jane = await join(channel)
    said = [await jane.say() for _ in range(8)]
    await jane.until(text=said[-1])
    opening = asyncio.gather(*(read(channel) for _ in range(3)))
    while not opening.done():
        said.append(await jane.say())
        await jane.until(text=said[-1])
    said.append(last := await jane.say())

    # Then each reader receives the stored and later ones, once, in order, as over the websocket
    readers = await opening
    await asyncio.gather(*(reader.until(text=last) for reader in readers))
    said.append(last := await jane.say())
    for reader in readers:
        await reader.until(text=last)
        assert len(reader.texts) >= 6
        assert reader.texts == said[-len(reader.texts) :]
    heard = {message["id"]: message for message in jane.received}
    for event in readers[0].received:
        assert event.type == (event.data or {}).get("type", "")
        if event.type == "text":
            assert (event.id, event.data) == (event.data["id"], heard[event.id])
        else:  # these are no positions for reconnecting
            assert event.id == ""
    assert readers[0].received[0].retry == "3000"
    head = readers[0].head.lower()
    for line in ("content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"):
        assert line in head
    assert "content-encoding" not in head

    # And readers do not count as users
    assert {message["nb_users"] for message in jane.received if message["type"] == "nb_users"} == {1}


async def test_a_reader_that_reconnects_misses_nothing(channel: str, join: Join, read: Read) -> None:
    # Given more messages than the history holds
    jane = await join(channel)
    said = [await jane.say() for _ in range(12)]
    first = await jane.until(text=said[0])
    await jane.until(text=said[-1])

    # When readers reconnect, a browser by its header, which precedes the query
    known, unknown = first["id"], jane.received[0]["id"]
    by_header = await read(channel, "--header", f"Last-Event-ID: {known}", query=f"?after={unknown}")
    for reader in (by_header, await read(channel, query=f"?after={known}")):
        await reader.until(text=said[-1])
        assert reader.texts == said[1:]

    # Then a reader with an unknown id is told so, and receives the history
    lost = await read(channel, query=f"?after={CANARY}")
    assert "no longer kept" in (await lost.until(type="uncompliant")).data["reason"]
    await lost.until(text=said[-1])
    assert lost.texts == said[-5:]


async def test_private_and_unknown_channels_are_refused_with_reasons(read: Read, rest: Rest) -> None:
    for arguments, query in [((), ""), ((), f"?token={TOKEN}x"), (("--header", "Authorization: Bearer wrong"), "")]:
        refused = await read(PRIVATE, *arguments, query=query)
        assert refused.status == 401
        assert "private" in (await refused.body())["detail"]
    assert (await read(PRIVATE, query=f"?token={TOKEN}")).status == 200
    assert (await read(PRIVATE, "--header", f"Authorization: Bearer {TOKEN}")).status == 200
    unknown = await read("nowhere")
    assert (unknown.status, await unknown.body()) == (404, {"detail": "Channel 'nowhere' not registered"})
    counted = Scrape((await rest.fetch("/metrics")).body.decode())
    for reason in ("token", "unknown_channel"):
        assert counted.value("gischat_connections_refused_total", reason=reason) > 0
    head = await rest.fetch(channel_path("c0", "events"), "HEAD")
    assert (head.code, head.headers["Content-Type"]) == (200, "text/event-stream")


async def test_readers_count_among_the_connections_of_their_address(channel: str, read: Read, rest: Rest) -> None:
    readers = [await read(channel) for _ in range(CONNECTIONS)]
    refused = await read(channel)
    assert refused.status == 429
    assert "too many connections" in (await refused.body())["detail"]
    assert await rest.nb_connected_users(channel) == 0

    # A reader that leaves makes room
    await readers[0].leave()

    async def status() -> int:
        return (await read(channel)).status

    await eventually(status, 200)


async def test_a_reader_that_does_not_read_or_sends_is_closed(
    stack: Stack, channel: str, join: Join, rest: Rest
) -> None:
    # Given a reader that does not read, and one that sends another request
    port = stack.fronts[0].port
    request = f"GET {channel_path(channel, 'events')} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    _, deaf_writer = await asyncio.open_connection(HOST, port, limit=1024)
    deaf_writer.write(request)
    chatty, chatty_writer = await asyncio.open_connection(HOST, port)
    chatty_writer.write(request + b"GET / HTTP/1.1\r\n\r\n")
    assert (await chatty.read()).startswith(b"HTTP/1.1 200")  # and the end of the stream
    chatty_writer.close()

    # When more is sent than may be buffered for it
    jane = await join(channel)
    closed = 'gischat_connections_closed_total{reason="slow_client"} 1'
    for _ in range(40):
        await jane.send(**sample("script", raw_pycode="x" * 1_000_000))
        await jane.until(type="script")
        if closed in (await rest.fetch("/metrics")).body.decode():
            break

    # Then it is closed, and others are not affected
    assert closed in (await rest.fetch("/metrics")).body.decode()
    await jane.until(text=await jane.say())
    deaf_writer.close()


async def test_a_stream_has_keepalives_and_a_time_to_reconnect(
    stack: Stack, channel: str, join: Join, read: Read
) -> None:
    jane, reader = await join(channel), await read(channel)
    before = await jane.say()
    await reader.until(text=before)
    while not reader.keep_alives:
        await jane.say()
        await reader.next()

    stack.fronts[0].terminate()
    told = await reader.rest()
    assert "restarts" in told[-2].data["reason"]
    assert 3000 <= int(told[-1].retry) < 7000
    assert await stack.fronts[0].stopped() == 0
    ended = stack.fronts[0].records(logger="gischat.access", transport="event stream", by="server")
    assert [record["code"] for record in ended] == [1001]
    stack.fronts[0].start()
    stack.wait_healthy(stack.fronts[0])


def test_a_message_of_several_lines_is_one_event() -> None:
    from gischat.front.connection.event_stream import event

    body = b'{"type":"geojson","id":"8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11","geojson":{\r\n"type": \n1}}'
    lines = event(body).splitlines()
    assert lines[:2] == [b"id: 8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11", b"event: geojson"]
    assert json.loads(lines[2].removeprefix(b"data: ")) == json.loads(body)
