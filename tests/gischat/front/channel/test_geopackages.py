"""GeoPackages made on request: one at a time, cached for a short time, bounded."""

import asyncio

import msgspec
import pytest

from gischat.errors import Unavailable
from gischat.front.channel import geopackages
from gischat.front.channel.geopackages import Failed, GeoPackages
from gischat.observability import metrics
from gischat.timings import Timings
from tests.support.contract import sample

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.processes]

LAYER = msgspec.json.encode(sample("geojson", timestamp=1_700_000_000))


def counted(outcome: str) -> float:
    return metrics.GEOPACKAGES.labels(outcome).amount


async def test_concurrent_requests_share_one_geopackage() -> None:
    before, made = counted("made"), GeoPackages()
    files = await asyncio.gather(*(made.get("tag", LAYER) for _ in range(3)))
    assert files[0].startswith(b"SQLite format 3\0")
    assert files == [files[0]] * 3
    assert await made.get("tag", b"not asked for") == files[0]
    assert counted("made") == before + 1


async def test_after_a_failure_the_next_is_made() -> None:
    before, made = counted("failed"), GeoPackages()
    with pytest.raises(Failed):
        await made.get("wrong", b"{}")
    assert (await made.get("right", LAYER)).startswith(b"SQLite")
    assert counted("failed") == before + 1


async def test_a_geopackage_that_takes_too_long_fails() -> None:
    with pytest.raises(Failed):
        await GeoPackages(Timings(geopackage=0.0)).get("tag", LAYER)


async def test_the_number_of_waiting_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geopackages, "MAX_WAITING", 1)
    made = GeoPackages()
    asked = [asyncio.create_task(made.get(str(number), LAYER)) for number in range(2)]
    file, refused = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(file, bytes)
    assert isinstance(refused, Unavailable)


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = GeoPackages()
    size = len(await made.get("first", LAYER))
    monkeypatch.setattr(geopackages, "KEPT_BYTES", 2 * size)
    for tag in ("second", "first", "third"):
        await made.get(tag, LAYER)
    assert list(made._kept) == ["first", "third"]
