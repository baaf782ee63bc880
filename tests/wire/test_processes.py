"""Processes: start, failure to start, shutdown; several on one machine, and instances that share a Redis."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis
from tornado.ioloop import IOLoop

from gischat.broker.namespace import BATCH
from tests.support.client import Client
from tests.support.processes import Stack, Valkey
from tests.support.rest import Rest, eventually
from tests.support.waiting import DEADLINE, awaited

StartStack = Callable[..., Stack]


GET = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
TEXT = b'{"author": "jane", "text": "late"}'
PUT = b"PUT /channel/QGIS/text HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(TEXT), TEXT)


async def _joined(url: str, channel: str = "QGIS", nickname: str | None = None) -> Client:
    client = await Client.connect(url, channel)
    await client.until(type="nb_users")
    if nickname is not None:
        await client.register(nickname)
    return client


def test_connections_accepted_just_before_shutdown_are_served(start_stack: StartStack) -> None:
    """Another front on the same port would have accepted the client: a shutdown must not affect it.

    A message in the request is refused, as in a channel, because its result might arrive too late.
    """
    # Given clients that have connected, and not sent a request yet
    (front,) = start_stack(heavy=0).fronts
    host, port = front.url.removeprefix("http://").rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=20) as reader,
        socket.create_connection((host, int(port)), timeout=20) as writer,
    ):
        # When the front is stopped, and accepts no more connections
        front.terminate()
        _until(lambda: not _is_listening(host, port))
        # Then their requests are answered
        for client, asked, answered in ((reader, GET, 200), (writer, PUT, 503)):
            client.sendall(asked)
            assert client.recv(1000).startswith(b"HTTP/1.1 %d " % answered)
    assert list(front.problems_of_ending()) == []


def _is_listening(host: str, port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_processes_start_and_stop_without_redis(io_loop: IOLoop, start_stack: StartStack, tmp_path: Path) -> None:
    # Given fronts and workers without Redis
    valkey = Valkey(tmp_path)
    stack = start_stack(redis_url=valkey.url, waits=False)
    for process in stack.processes:
        _until(lambda process=process: "cannot connect" in process.new_log())
    # When they are stopped, all exit with status 0
    for process in stack.processes:
        assert process.stop() == 0
    # When they are started again, and then Redis
    for process in stack.processes:
        process.start()
    with valkey:
        stack.wait_healthy(stack.fronts[0])

        # Then everything works
        client = await _joined(stack.fronts[0].url)
        await client.until(text=await client.say())
        await client.leave()
        for process in stack.processes:
            assert await process.stopped() == 0


def test_processes_may_be_stopped_while_redis_does_not_answer(tmp_path: Path, start_stack: StartStack) -> None:
    with Valkey(tmp_path) as valkey:
        # Given a frozen Redis, and commands that have been sent to it
        stack = start_stack(redis_url=valkey.url)
        for process in stack.processes:
            _until(lambda process=process: "is connected" in process.whole_log())
        valkey.freeze()
        for worker in stack.workers:
            _until(lambda worker=worker: "is lost: no answer" in worker.new_log())
        # When the processes are stopped, all exit with status 0
        for process in stack.processes:
            process.terminate()
        assert [list(process.problems_of_ending()) for process in stack.processes] == [[], [], []]


def _until(holds: Callable[[], bool], within: float = DEADLINE) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_two_instances_on_one_redis_do_not_see_each_other(io_loop: IOLoop, start_stack: StartStack) -> None:
    # Given two instances with the same channels, and jane in one of them
    ours, theirs = start_stack(heavy=0), start_stack(heavy=0)
    jane = await _joined(ours.fronts[0].url, nickname="jane")
    here = await jane.say()
    await jane.until(text=here)

    # When another jane registers in the other and sends a text
    namesake = await _joined(theirs.fronts[0].url, nickname="jane")
    there = await namesake.say()
    await namesake.until(text=there)

    # Then neither receives or counts the other
    await jane.nothing_before(await jane.say())
    assert here not in namesake.texts()
    assert (jane.nb_users, namesake.nb_users) == (1, 1)
    rest = Rest(theirs.fronts[0].url)
    assert [m["text"] for m in await rest.last("QGIS")] == [there]
    rest.close()
    await jane.leave()
    await namesake.leave()


async def test_fronts_on_one_port_share_clients_and_say_when_they_stop(
    io_loop: IOLoop, start_stack: StartStack
) -> None:
    # Given two fronts on one port, and registered clients that connect to it
    stack = start_stack(heavy=0, fronts=2, shared_port=True)
    for front in stack.fronts:  # one front may have answered both health checks
        _until(lambda front=front: "serving on" in front.new_log())
    url = stack.fronts[0].url
    people = await asyncio.gather(*(_joined(url, nickname=f"guest-{number}") for number in range(24)))
    for client in people:
        await client.count(24)
    text = await people[0].say()
    for client in people:
        await client.until(text=text)

    # When one of the fronts stops
    assert await stack.fronts[0].stopped() == 0

    # Then some clients were its own, and were told why; the others stay connected, and were told who has left
    gone = [number for number, client in enumerate(people) if client.connection.close_code is not None]
    staying = [client for number, client in enumerate(people) if number not in gone]
    assert 0 < len(gone) < 24
    for number in gone:
        reason = "The server restarts: disconnect and connect again in a moment."
        assert await people[number].refusal() == reason
        assert (await people[number].closed())[0] == 1001
        for client in staying:
            await client.until(type="exiter", exiter=f"guest-{number}")

    # And new ones are served
    newcomer = await _joined(url)
    for client in (newcomer, *staying):
        await client.count(len(staying) + 1)
    for client in (newcomer, *staying):
        await client.leave()


async def test_settings_reach_clients_and_limits(io_loop: IOLoop, start_stack: StartStack) -> None:
    # Given an instance with other settings
    told = {"rules": "Soyez gentils.", "main_lang": "fr", "min_author_length": 2, "max_author_length": 4}
    told |= {"max_message_length": 10, "max_image_size": 20, "max_geojson_features": 1}
    others = {"channels": "Karten, Été", "max_stored_messages": 2, "max_frame_size": 2048}
    stack = start_stack(light=0, heavy=0, both=1, **told, **others)
    rest = Rest(stack.fronts[0].url)

    # Then clients are told
    assert await rest.get("/channels") == ["Karten", "Été"]
    assert await rest.get("/rules") == told

    # And the limits are enforced
    client = await _joined(stack.fronts[0].url, "Été", nickname="ab")
    for author, text in [("ab", "x" * 10), ("abcd", "y"), ("ab", "z")]:
        await client.say(text, author=author)
        await client.until(text=text)
    for author, text in [("a", "x"), ("abcde", "x"), ("ab", "x" * 11)]:
        await client.say(text, author=author)
        await client.refusal()
    await eventually(lambda: _texts(rest, "Été"), ["y", "z"])
    await client.send_raw("x" * 2049)
    assert (await client.refusal()).startswith("This message has 0.002049 MB; at most 0.002048 MB can be sent here.")
    await client.leave()
    rest.close()


async def _texts(rest: Rest, channel: str) -> list[str]:
    return [message["text"] for message in await rest.last(channel)]


def test_idle_channels_are_asked_about_together(start_stack: StartStack, tmp_path: Path) -> None:
    channels = 2 * BATCH
    with Valkey(tmp_path) as valkey, redis.Redis.from_url(valkey.url) as admin:
        start_stack(redis_url=valkey.url, heavy=0, channels=",".join(f"room-{number}" for number in range(channels)))
        admin.config_resetstat()

        def calls() -> Counter[str]:
            found = admin.info("commandstats").items()
            return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in found})

        # Given some renewals of the front's leases, and some rounds of the worker's maintenance
        assert awaited(lambda: min(calls()["zadd"], calls()["zrangebyscore"]) >= 4 * channels)
        asked = calls()
        rounds = (asked["zadd"] + asked["zrangebyscore"]) / channels  # each asks every channel once

        # Then no script runs for each channel: two batches and their keys' types; the heartbeat runs two or three
        assert asked["evalsha"] < 10 * rounds
        # And what runs in them is little
        assert asked.total() < 20 * rounds * channels
