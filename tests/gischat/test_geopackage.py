"""GeoPackages, as GDAL reads them (`gdal-bin`; tests/install-tools installs it)."""

import json
import sqlite3
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pyproj import CRS

from gischat import geopackage as module
from gischat.geopackage import geopackage, srs_of
from tests.support.contract import sample
from tests.support.layers import SQUARE, feature, geometry, layer, point

pytestmark = pytest.mark.processes

LAMBERT_93 = CRS.from_epsg(2154)
CUSTOM = CRS.from_proj4("+proj=tmerc +lat_0=-20 +lon_0=47.5 +k=1.0003 +x_0=1234 +y_0=-5678 +datum=WGS84 +units=us-ft")


def message(type_: str = "geojson", **changes: Any) -> dict[str, Any]:
    of_it = {"crs_wkt": LAMBERT_93.to_wkt("WKT1_GDAL"), "crs_authid": "EPSG:2154", "timestamp": 1_700_000_000}
    return {**sample(type_), **of_it, **changes}


def run(*command: str) -> str:
    """What a tool says; it must have nothing to complain about."""
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stderr == ""
    return ran.stdout


class Read:
    """A file as GDAL sees it."""

    def __init__(self, message: dict[str, Any], folder: Path) -> None:
        self.path = folder / "layer.gpkg"
        self.path.write_bytes(geopackage(message))

    @cached_property
    def summary(self) -> str:
        return run("ogrinfo", "-al", "-so", "-wkt_format", "WKT2_2018", str(self.path))

    @cached_property
    def features(self) -> Any:
        shown = run("ogr2ogr", "-f", "GeoJSON", "-lco", "RFC7946=NO", "/vsistdout/", str(self.path))
        return json.loads(shown)["features"]

    @property
    def crs(self) -> CRS:
        return CRS.from_wkt(self.summary.partition("Layer SRS WKT:\n")[2].partition("\nData axis")[0])

    @property
    def shapes(self) -> list[Any]:
        return [found["geometry"] for found in self.features]


def of(*features: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return message(geojson=layer(list(features)), **changes)


@pytest.mark.parametrize(
    ("crs", "version"),
    [(LAMBERT_93, "WKT1_GDAL"), (CRS.from_epsg(4326), "WKT2_2019"), (CUSTOM, "WKT1_GDAL"), (CUSTOM, "WKT2_2019")],
)
def test_a_layer_is_in_its_own_crs(crs: CRS, version: Any, tmp_path: Path) -> None:
    read = Read(of(feature(point(652381.4, 6862047.1)), crs_wkt=crs.to_wkt(version), crs_authid=""), tmp_path)
    assert read.crs.equals(crs, ignore_axis_order=True) or read.crs.to_epsg() == crs.to_epsg() is not None


def test_the_text_decides_and_the_name_only_where_there_is_none() -> None:
    assert srs_of(CUSTOM.to_wkt("WKT1_GDAL"), "EPSG:2154")[1:4] == (100_000, "NONE", 100_000)
    assert srs_of('PROJCS["nothing"]', "EPSG:2154")[1:4] == (2154, "EPSG", 2154)
    assert srs_of("", "USER:1")[1:4] == (-1, "NONE", -1)


LINE, RING = [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 0.0]]
SHAPES = [
    point(1.0, 2.0),
    point(1.0, 2.0, 3.5),
    geometry("MultiPoint", LINE),
    geometry("LineString", LINE),
    geometry("MultiLineString", [LINE, [[5.0, 6.0], [7.0, 8.0]]]),
    geometry("Polygon", [RING, [[4.0, 1.0], [5.0, 1.0], [5.0, 2.0], [4.0, 1.0]]]),
    geometry("MultiPolygon", [[RING]]),
    {"type": "GeometryCollection", "geometries": [point(1.0, 2.0), geometry("LineString", LINE)]},
]


def test_geometries_come_out_as_they_went_in(tmp_path: Path) -> None:
    assert Read(of(*map(feature, SHAPES), feature(None)), tmp_path).shapes == [*SHAPES, None]
    for shape in (SHAPES[1], SHAPES[5]):  # in a layer that is declared to have one type
        assert Read(of(feature(shape), feature(None)), tmp_path).shapes == [shape, None]


def test_single_parts_beside_multiple_ones_are_one_layer(tmp_path: Path) -> None:
    single, multiple = geometry("Polygon", [SQUARE]), geometry("MultiPolygon", [[SQUARE]])
    read = Read(of(feature(single), feature(multiple)), tmp_path)
    assert "Geometry: Multi Polygon" in read.summary
    assert read.shapes[0] == read.shapes[1]
    mixed = Read(of(feature(single), feature(point(1.0, 2.0))), tmp_path)
    assert "Geometry: Unknown (any)" in mixed.summary


def test_properties_are_columns_of_their_types(tmp_path: Path) -> None:
    first = {
        "id": 7,
        "fid": "x",
        "Höhe": 1.5,
        "ok": True,
        "a\"b'c": "d",
        "tags": ["a", 1],
        "mixed": 1,
        "ID": 2,
        "n": 2**70,
    }
    second = {"id": None, "Höhe": 2, "ok": False, "mixed": "two"}
    read = Read(of(feature(point(1.0, 2.0), properties=first), feature(None, properties=second)), tmp_path)
    one, two = (found["properties"] for found in read.features)
    names = {"fid": "fid_2", "ID": "ID_2"}  # of columns, which have no case, and of which one is GeoPackage's own
    assert one == {names.get(name, name): value for name, value in first.items()} | {"mixed": "1", "n": float(2**70)}
    assert two == dict.fromkeys(one) | second


@pytest.mark.parametrize("name", ["puits d'été", 'a "quoted" one', "", "sqlite_master"])
def test_any_layer_has_a_name_and_may_be_empty(name: str, tmp_path: Path) -> None:
    read = Read(of(layer_name=name), tmp_path)
    assert "Feature Count: 0" in read.summary
    assert not name or name in read.summary


def test_a_position_and_an_extent_are_layers_too(tmp_path: Path) -> None:
    assert Read(message("position", x=1.0, y=2.0), tmp_path).shapes == [point(1.0, 2.0)]
    (extent,) = Read(message("bbox", xmin=0.0, ymin=1.0, xmax=2.0, ymax=3.0), tmp_path).shapes
    assert extent == geometry("Polygon", [[[0.0, 1.0], [2.0, 1.0], [2.0, 3.0], [0.0, 3.0], [0.0, 1.0]]])


def test_it_is_a_geopackage_of_version_1_3(tmp_path: Path) -> None:
    database = sqlite3.connect(Read(of(feature(point(1.0, 2.0))), tmp_path).path)
    assert database.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
    assert database.execute("PRAGMA user_version").fetchone() == (10300,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    assert {-1, 0, 4326, 2154} == {row[0] for row in database.execute("SELECT srs_id FROM gpkg_spatial_ref_sys")}
    assert database.execute("SELECT last_change FROM gpkg_contents").fetchone() == ("2023-11-14T22:13:20.000Z",)


def test_as_a_process_it_takes_a_message_and_gives_a_file() -> None:
    body = msgspec.json.encode(of(feature(point(1.0, 2.0))))
    made = subprocess.run([sys.executable, "-P", module.__file__], input=body, capture_output=True, check=True)
    assert made.stdout == geopackage(msgspec.json.decode(body))
