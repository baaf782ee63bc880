"""Places of messages in the light lane: immediate for a known CRS, and without delay for other messages."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from pyproj import CRS

from gischat.broker.entries import Job, Source
from gischat.observability import metrics
from gischat.protocol.places import decode
from tests.support.contract import sample
from tests.support.waiting import DEADLINE, LOOK
from worker import crs, placing
from worker.effects import Publish
from worker.placing import FAILED, PLACED, UNPLACED, Placer
from worker.sandbox import Sandbox

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.processes]

LAMBERT_93 = CRS.from_epsg(2154).to_wkt("WKT1_GDAL")


def job(type_: str = "position", wkt: str = LAMBERT_93, **changes: Any) -> Job:
    body = sample(type_, id="1", timestamp=1, crs_wkt=wkt, crs_authid="", **changes)
    return Job(Source("front", 1, 1), type_, "1", msgspec.json.encode(body))


def published(job: Job) -> Publish:
    return Publish(job.body)


async def later(placer: Placer, job: Job) -> Publish:
    async with asyncio.timeout(DEADLINE):
        return await placer.later(job, published(job))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(seconds=1.0, memory=2**30, preload=("worker.crs",))
    yield sandbox
    asyncio.run(sandbox.close())


@pytest.fixture
def placer(sandbox: Sandbox) -> Placer:
    return Placer(sandbox)


async def test_a_crs_is_parsed_once_valid_or_not(placer: Placer) -> None:
    first = job(x=652381.4, y=6862047.1)
    assert placer.now(first, published(first)) is None
    for effect in await asyncio.gather(*(later(placer, first) for _ in range(3))):
        (box, _) = decode(effect.place).features[0]
        assert box == pytest.approx((2.351, 48.857, 2.351, 48.857), abs=1e-3)
    for type_ in ("position", "bbox", "crs"):
        another = job(type_)
        effect = placer.now(another, published(another))
        assert effect is not None
        assert effect.body == another.body
    assert len(placer._known) == 1
    wrong = job(wkt="[" * 10_000)
    assert await later(placer, wrong) == published(wrong)
    assert placer.now(wrong, published(wrong)) == published(wrong)


def hang(*_: str) -> None:
    while True:
        pass


def crash(*_: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hoard(*_: str) -> None:
    bytearray(2**40)


@pytest.mark.parametrize("attack", [hang, crash, hoard])
async def test_a_crs_that_crashes_or_hangs_is_parsed_once_and_delays_no_others(
    placer: Placer, monkeypatch: pytest.MonkeyPatch, attack: Callable[..., None]
) -> None:
    honest = job()
    assert (await later(placer, honest)).place
    with monkeypatch.context() as attacked:
        attacked.setattr(crs, "find", attack)
        hostile = job(wkt="hostile")
        attacking = asyncio.create_task(later(placer, hostile))
        # Meanwhile, others are served
        effect = placer.now(honest, published(honest))
        assert effect is not None
        assert effect.place
        assert await attacking == published(hostile)
    # The hostile CRS is not parsed again; others are
    assert placer.now(hostile, published(hostile)) == published(hostile)
    another = job(wkt=CRS.from_epsg(32735).to_wkt("WKT1_GDAL"))
    assert (await later(placer, another)).place


async def test_a_flood_of_new_crs_is_published_without_places(placer: Placer, monkeypatch: pytest.MonkeyPatch) -> None:
    await later(placer, job())
    monkeypatch.setattr(placing, "MAX_WAITING", 1)
    monkeypatch.setattr(crs, "find", hang)
    waiting = asyncio.create_task(later(placer, job(wkt="one")))
    while not placer._asked:
        await asyncio.sleep(LOOK)
    refused = await later(placer, job(wkt="two"))
    assert (refused.place, bool(refused.unplaced)) == (b"", True)
    assert (await waiting).unplaced == ""


async def test_the_number_of_cached_crs_is_bounded(placer: Placer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "KEPT", 2)
    for wkt in ("one", "two", LAMBERT_93):
        await later(placer, job(wkt=wkt))
    assert [key[0] for key in placer._known] == ["two", LAMBERT_93]


def test_outcomes_are_counted() -> None:
    def counted() -> list[float]:
        return [metrics.PLACES.labels("position", outcome).amount for outcome in (PLACED, UNPLACED, FAILED)]

    before = counted()
    for effect in (Publish(b"", place=b"x"), Publish(b""), Publish(b"", unplaced="why")):
        placing.count("position", effect)
    assert counted() == [number + 1 for number in before]
