"""A channel's feed of features and messages' files, from real processes, read by GDAL."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyproj import CRS

from tests.support.client import Client
from tests.support.contract import sample
from tests.support.layers import feature, layer, point
from tests.support.rest import Rest, channel_path
from tests.wire.conftest import Join

FEATURES = "features.geojson"
HERE = (2.3510045, 48.8567)  # in Paris


def in_crs(code: int) -> dict[str, str]:
    return {"crs_wkt": CRS.from_epsg(code).to_wkt("WKT1_GDAL"), "crs_authid": f"EPSG:{code}"}


LAMBERT_93 = in_crs(2154)


async def share(client: Client, type_: str, **changes: Any) -> dict[str, Any]:
    """The message as it was broadcast."""
    await client.send(**sample(type_, **changes))
    return await client.until(type=type_)


async def share_position(client: Client, **changes: Any) -> dict[str, Any]:
    return await share(client, "position", **LAMBERT_93, x=652381.4, y=6862047.1, **changes)


def path_of(channel: str, message: dict[str, Any], form: str) -> str:
    return channel_path(channel, f"messages/{message['id']}.{form}")


async def test_what_is_shared_is_on_the_map_on_every_front(channel: str, join: Join, rests: list[Rest]) -> None:
    # Given a position, an extent, a CRS and a layer, each in another CRS, and texts, which have no place
    client = await join(channel)
    await client.say()
    position = await share_position(client)
    extent = await share(client, "bbox", **in_crs(27700), xmin=530000, xmax=531000, ymin=180000, ymax=181000)
    await share(client, "crs", **in_crs(32735))
    wells = layer([feature(point(2600000, 1200000), properties={"depth": 12, "id": "w1"}), feature(None)])
    shared = await share(client, "geojson", **in_crs(2056), geojson=wells, layer_name="wells")

    for rest in rests:
        # Then both fronts serve their places, in order
        found = (await rest.get(channel_path(channel, FEATURES)))["features"]
        kinds = [one["properties"].get("gischat_type", one["properties"]["type"]) for one in found]
        assert kinds == ["position", "bbox", "crs", "geojson", "geojson"]
        assert found[0]["id"] == position["id"]
        assert found[0]["geometry"]["coordinates"] == pytest.approx(HERE, abs=1e-6)
        assert found[1]["geometry"]["coordinates"][0][0] == pytest.approx([-0.1278, 51.5037], abs=1e-3)
        assert found[3]["geometry"]["coordinates"] == pytest.approx([7.4386, 46.9511], abs=1e-3)
        assert found[3]["properties"] == {
            "gischat_id": shared["id"],
            "type": "geojson",
            "author": "jane",
            "timestamp": shared["timestamp"],
            "layer_name": "wells",
            "crs_authid": "EPSG:2056",
            "depth": 12,
            "id": "w1",
        }
        assert found[4]["geometry"] is None

        # And a selection on request
        for query, ids in {
            "type=position": [position["id"]],
            "type=bbox,position": [position["id"], extent["id"]],
            f"since={shared['timestamp'] + 1}": [],
            "type=position&since=0": [position["id"]],
            "bbox=-1,51,0,52": [extent["id"]],
            "type=position,bbox&bbox=2,48,1,49": [position["id"]],  # across the antimeridian
        }.items():
            asked = await rest.get(channel_path(channel, f"{FEATURES}?{query}"))
            assert [one["id"] for one in asked["features"]] == ids, query


async def test_an_invalid_query_is_refused_with_a_reason(channel: str, rest: Rest) -> None:
    queries = ["type=text", "type=", "since=yesterday", "since=-1", "bbox=1,2,3", "bbox=1,2,3,nan", "bbox=a,b,c,d"]
    for query in queries:
        answer = await rest.fetch(channel_path(channel, f"{FEATURES}?{query}"))
        assert answer.code == 422
        assert json.loads(answer.body)["detail"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_an_unchanged_feed_or_file_of_a_message_is_answered_by_304(channel: str, join: Join, rest: Rest) -> None:
    client = await join(channel)
    position = await share_position(client)
    paths = [channel_path(channel, FEATURES), channel_path(channel, f"{FEATURES}?type=position")]
    paths += [path_of(channel, position, form) for form in ("json", "geojson", "gpkg")]
    tags = {}
    for path in paths:
        answer = await rest.fetch(path)
        tags[path] = answer.headers["Etag"]
        again = await rest.fetch(path, If_None_Match=tags[path])
        assert (answer.code, again.code, again.body) == (200, 304, b""), path
        head = await rest.fetch(path, "HEAD")
        assert (head.code, head.headers["Etag"]) == (200, tags[path])
    await share_position(client)
    for path in paths:
        changed = await rest.fetch(path, If_None_Match=tags[path])
        assert changed.code == (200 if FEATURES in path else 304), path
    # Places are deleted with their messages
    for _ in range(5):  # as many as are stored
        await client.until(text=await client.say())
    assert (await rest.get(channel_path(channel, FEATURES)))["features"] == []
    assert (await rest.fetch(path_of(channel, position, "gpkg"))).code == 404


def described(file: Path, content: bytes) -> str:
    """GDAL's report on a file's layers, which must contain no warning."""
    file.write_bytes(content)
    ran = subprocess.run(["ogrinfo", "-al", "-so", str(file)], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stderr == ""
    return ran.stdout


async def test_gdal_reads_the_feed_and_a_messages_files(channel: str, join: Join, rest: Rest, tmp_path: Path) -> None:
    client = await join(channel)
    await share_position(client)
    wells = layer([feature(point(2600000.5, 1200000), properties={"depth": 12})])
    shared = await share(client, "geojson", **in_crs(2056), geojson=wells, layer_name="puits d'été")
    assert await rest.get(path_of(channel, shared, "json")) == shared
    (found,) = (await rest.get(path_of(channel, shared, "geojson")))["features"]
    assert found["geometry"]["coordinates"] == pytest.approx([7.4386, 46.9511], abs=1e-3)

    answer = await rest.fetch(path_of(channel, shared, "gpkg"))
    assert answer.headers["Content-Type"] == "application/geopackage+sqlite3"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''puits%20d%27%C3%A9t%C3%A9.gpkg"
    summary = described(tmp_path / "wells.gpkg", answer.body)
    assert "CH1903+ / LV95" in summary
    assert "Extent: (2600000.500000, 1200000.000000)" in summary

    answer = await rest.fetch(channel_path(channel, FEATURES))
    assert answer.headers["Content-Type"] == "application/geo+json"
    summary = described(tmp_path / "features.geojson", answer.body)
    assert "Feature Count: 2" in summary
    assert 'ID["EPSG",4326]' in summary
    assert "Extent: (2.351005, 46.951083) - (7.438639, 48.856700)" in summary
    for column in ("type: String", "author: String", "timestamp: Integer", "depth: Integer", "crs_authid: String"):
        assert column in summary


async def test_messages_without_a_place_are_published(channel: str, join: Join, rest: Rest) -> None:
    client = await join(channel)
    text = await client.until(text=await client.say())
    nowhere = await share(client, "position", crs_wkt="[" * 10_000, crs_authid="")
    assert await rest.get(channel_path(channel, FEATURES)) == {"type": "FeatureCollection", "features": []}
    for message, form, status in [
        (text, "json", 200),
        (text, "geojson", 404),
        (text, "gpkg", 404),
        (nowhere, "geojson", 404),
        (nowhere, "gpkg", 200),
        ({"id": "8f2bd5a4-0d5a-4f7c-9c3a-0b1d8a3b6a11"}, "json", 404),
        ({"id": "nothing"}, "geojson", 404),
    ]:
        answer = await rest.fetch(path_of(channel, message, form))
        assert answer.code == status, (message, form)
