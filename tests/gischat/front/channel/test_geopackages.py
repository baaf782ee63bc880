"""GeoPackages that a front has made for whoever asks: one at a time, kept for a moment, bounded."""

import asyncio

import msgspec
import pytest

from gischat.errors import Unavailable
from gischat.front.channel import geopackages
from gischat.front.channel.geopackages import MAX_WAITING, Failed, GeoPackages
from gischat.observability import metrics
from gischat.timings import Timings
from tests.support.contract import sample

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.processes]

LAYER = msgspec.json.encode(sample("geojson", timestamp=1_700_000_000))


def counted(outcome: str) -> float:
    return metrics.GEOPACKAGES.labels(outcome).amount


async def test_it_is_made_once_for_all_who_ask() -> None:
    before, made = counted("made"), GeoPackages()
    files = await asyncio.gather(*(made.get("tag", LAYER) for _ in range(3)))
    assert files[0].startswith(b"SQLite format 3\0")
    assert files == [files[0]] * 3
    assert await made.get("tag", b"not asked for") == files[0]
    assert counted("made") == before + 1


async def test_what_cannot_be_made_has_failed_and_the_next_is_made() -> None:
    before, made = counted("failed"), GeoPackages()
    with pytest.raises(Failed):
        await made.get("wrong", b"{}")
    assert (await made.get("right", LAYER)).startswith(b"SQLite")
    assert counted("failed") == before + 1


async def test_what_takes_too_long_has_failed() -> None:
    with pytest.raises(Failed):
        await GeoPackages(Timings(geopackage=0.0)).get("tag", LAYER)


async def test_only_so_many_may_wait() -> None:
    made = GeoPackages()
    asked = [asyncio.create_task(made.get(str(number), LAYER)) for number in range(MAX_WAITING + 1)]
    *files, refused = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(refused, Unavailable)
    assert all(isinstance(file, bytes) for file in files)


async def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = GeoPackages()
    size = len(await made.get("first", LAYER))
    monkeypatch.setattr(geopackages, "KEPT_BYTES", 2 * size)
    for tag in ("second", "first", "third"):
        await made.get(tag, LAYER)
    assert list(made._kept) == ["first", "third"]
