"""The cache: concurrent requests share one read, which is never older than the last invalidation."""

import asyncio
from collections.abc import Awaitable
from hashlib import blake2b

from gischat.front.channel.cache import TAGGED_BYTES, CachedAnswer, CachedBody, ReadPacer, SharedRead
from gischat.front.channel.join_buffer import JoinHistory
from gischat.front.transport.frames import PIECE_BYTES, text_frame
from gischat.timings import Timings
from tests.support.virtual_time import pass_time, settle, virtual_time


class Source:
    """A source whose reads wait until the test answers them."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Future[bytes]] = []

    async def read(self) -> bytes:
        self.reads.append(asyncio.get_running_loop().create_future())
        return await self.reads[-1]

    async def answer(self, body: bytes) -> None:
        self.reads[-1].set_result(body)
        await settle()


def ask(cached: CachedAnswer) -> "asyncio.Task[bytes]":
    async def body() -> bytes:
        return (await cached.get()).body

    return asyncio.create_task(body())


@virtual_time
async def test_requests_during_a_read_share_the_next_one() -> None:
    source = Source()
    shared = SharedRead(source.read)
    first = asyncio.create_task(shared.get())
    await settle()
    others = [asyncio.create_task(shared.get()) for _ in range(100)]
    await settle()
    assert len(source.reads) == 1
    await source.answer(b"a")
    assert await first == b"a"
    await source.answer(b"b")
    assert await asyncio.gather(*others) == [b"b"] * 100
    assert len(source.reads) == 2


@virtual_time
async def test_an_answer_is_reused_for_a_short_time() -> None:
    source = Source()
    cached = CachedAnswer(source.read)
    asked = [ask(cached) for _ in range(100)]
    await settle()
    asked += [ask(cached) for _ in range(100)]
    await settle()
    await source.answer(b"a")
    assert await asyncio.gather(*asked) == [b"a"] * 200
    assert await ask(cached) == b"a"
    assert len(source.reads) == 1
    # Then it is read again
    await pass_time(Timings().answer_kept + 0.1)
    assert cached.fresh is None
    later = ask(cached)
    await settle()
    await source.answer(b"b")
    assert await later == b"b"


@virtual_time
async def test_a_request_after_an_invalidation_gets_the_new_state() -> None:
    source = Source()
    cached = CachedAnswer(source.read)
    # When it is invalidated while it is cached, or while it is read
    early = ask(cached)
    await settle()
    cached.invalidate()
    late = [ask(cached) for _ in range(3)]
    await settle()
    await source.answer(b"before")
    assert await early == b"before"
    assert cached.fresh is None
    await source.answer(b"after")
    assert await asyncio.gather(*late) == [b"after"] * 3
    cached.invalidate()
    later = ask(cached)
    await settle()
    await source.answer(b"later")
    assert await later == b"later"


@virtual_time
async def test_large_answers_are_read_at_a_limited_rate() -> None:
    """Even while messages are published: reading and encoding large answers delays all others."""
    body, pace, reads = b"x" * 1_000_000, ReadPacer(4e6), list[float]()

    async def read() -> bytes:
        reads.append(asyncio.get_running_loop().time())
        return body

    cached = [CachedAnswer(read, pace) for _ in range(4)]
    # When all of them are requested repeatedly
    asked = []
    for _ in range(500):
        for one in cached:
            one.invalidate()
            asked.append(ask(one))
        await pass_time(0.01)
    # Then about as much is read as the rate allows, and every request is answered
    assert 20 * 0.5 <= len(reads) <= 4 + 20 * 1.5
    assert set(await asyncio.gather(*asked)) == {body}


async def steps_of(work: Awaitable[object]) -> int:
    """The number of other tasks' turns meanwhile."""
    turns, task = 0, asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_the_tag_of_a_large_answer_is_that_of_the_whole_and_computed_in_steps() -> None:
    body = bytes(5 * TAGGED_BYTES + 1)
    assert await steps_of(CachedBody.of(body)) >= 6
    assert (await CachedBody.of(body)).etag == f'"{blake2b(body, digest_size=16).hexdigest()}"'


async def test_frames_of_large_stored_messages_are_made_once_and_in_steps() -> None:
    bodies = [bytes(PIECE_BYTES + number) for number in range(6)]
    history = JoinHistory(1, bodies)
    assert await steps_of(asyncio.gather(history.make_frames(), history.make_frames())) >= 4
    assert history.frames == [text_frame(body) for body in bodies]
    assert JoinHistory(1, bodies).frames == history.frames
