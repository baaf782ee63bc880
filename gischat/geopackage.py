"""GeoPackage 1.3 writer (OGC 12-128r17) for a message's layer, in its own CRS: `python geopackage.py < message > file`.

It runs as a separate process, with bounded time and memory, so that its tenths of a second do not block a front. A
position becomes a layer of one point, an extent a layer of one polygon.
"""

import json
import os
import re
import resource
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from gischat.geopackage_geometries import blob, extent, positions, with_one_type
from gischat.protocol.places import WGS_84_WKT

CPU_LIMIT = 20  # seconds of CPU time
MEMORY = 2**30  # bytes of address space

APPLICATION_ID, USER_VERSION = 0x47504B47, 10300  # "GPKG", 1.3.0 (§1.1.1.1.1)
MAX_COLUMNS = 1000  # of properties; further ones are left out (SQLite allows 2000)
UNDEFINED, OWN = -1, 100_000  # srs_id of an undefined CRS, and of one without an authority

_WKT_1 = re.compile(r"\s*(?:(?:PROJ|GEOG|GEOC|LOCAL_)CS|COMPD_CS)\s*\[", re.I)
_WKT_2 = re.compile(r"\s*(?:(?:BOUND|PROJ|GEOG|GEOD|COMPOUND|ENG)|PROJECTED|GEOGRAPHIC|GEODETIC)CRS\s*\[", re.I)
_DATUM = re.compile(r"DATUM|ENSEMBLE", re.I)  # one is mandatory in every CRS
_ROOT_IN_EPSG = re.compile(r'(?:AUTHORITY|ID)\["EPSG",\s*"?(\d{1,9})"?\]\s*\]\s*\Z', re.I)


class Srs(NamedTuple):
    """A row of gpkg_spatial_ref_sys: in WKT 1, or in WKT 2 (Annex F.10)."""

    name: str
    id: int
    organization: str
    code: int
    wkt_1: str
    wkt_2: str


def srs_of(wkt: str, authid: str) -> Srs:
    """The SRS of a message's CRS.

    Readers prefer the EPSG code to the WKT, so the code is given only if `crs_wkt` itself contains it, or if `crs_wkt`
    cannot be read and `crs_authid` is an EPSG code.
    """
    name = match[1] if (match := re.search(r'"([^"]*)"', wkt)) else authid or "unknown"
    is_readable = bool(_DATUM.search(wkt)) and wkt.count("[") == wkt.count("]")
    is_wkt_1, is_wkt_2 = (is_readable and bool(form.match(wkt)) for form in (_WKT_1, _WKT_2))
    epsg = _ROOT_IN_EPSG.search(wkt) if is_wkt_1 or is_wkt_2 else re.fullmatch(r"EPSG:(\d{1,9})", authid)
    if not (is_wkt_1 or is_wkt_2 or epsg):
        return Srs("Undefined", UNDEFINED, "NONE", UNDEFINED, "undefined", "undefined")
    wkt_1, wkt_2 = wkt if is_wkt_1 else "undefined", wkt if is_wkt_2 else "undefined"
    if epsg:
        return Srs(name, int(epsg[1]), "EPSG", int(epsg[1]), wkt_1, wkt_2)
    return Srs(name, OWN, "NONE", OWN, wkt_1, wkt_2)


class Column(NamedTuple):
    """A property's column; its name is unique in the table, ignoring case."""

    key: str
    name: str
    type: str


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    columns, taken = [], {"fid", "geom"}
    for key in list(dict.fromkeys(chain.from_iterable(rows)))[:MAX_COLUMNS]:
        plain = key.replace("\0", "").strip() or "property"
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.casefold())
        columns.append(Column(key, name, _column_type(row[key] for row in rows if key in row)))
    return columns


def _column_type(values: Iterable[Any]) -> str:
    given = [value for value in values if value is not None]
    kinds = set(map(type, given))
    if kinds == {bool}:
        return "BOOLEAN"
    if kinds == {int} and min(given) >= -(2**63) and max(given) < 2**63:
        return "INTEGER"
    return "DOUBLE" if kinds and kinds <= {int, float} else "TEXT"


def _cell(value: Any, column: Column) -> Any:
    if value is None or isinstance(value, str):
        return value
    if column.type == "TEXT":
        return json.dumps(value, ensure_ascii=False)
    return float(value) if column.type == "DOUBLE" else value


_TABLES = """
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT,
  definition_12_063 TEXT NOT NULL DEFAULT 'undefined'
);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL, min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id)
);
CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL,
  z TINYINT NOT NULL, m TINYINT NOT NULL, PRIMARY KEY (table_name, column_name), UNIQUE (table_name),
  FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id)
);
CREATE TABLE gpkg_extensions (
  table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL, definition TEXT NOT NULL, scope TEXT NOT NULL,
  UNIQUE (table_name, column_name, extension_name)
);
"""
_CRS_WKT = (
    *("gpkg_spatial_ref_sys", "definition_12_063"),
    *("gpkg_crs_wkt", "http://www.geopackage.org/spec130/#extension_crs_wkt", "read-write"),
)

_ALWAYS_THERE = (  # §1.1.2.1.2
    Srs("Undefined Cartesian SRS", -1, "NONE", -1, "undefined", "undefined"),
    Srs("Undefined geographic SRS", 0, "NONE", 0, "undefined", "undefined"),
    Srs("WGS 84", 4326, "EPSG", 4326, WGS_84_WKT, "undefined"),
)


def geopackage(message: Mapping[str, Any]) -> bytes:
    """A GeoPackage file's bytes for a `geojson`, `bbox` or `position` message, as on the wire."""
    features = _features(message)
    srs = srs_of(message["crs_wkt"], message["crs_authid"])
    kind, geometries = with_one_type([feature["geometry"] for feature in features])
    rows = [feature["properties"] or {} for feature in features]
    columns = columns_of(rows)
    table = _table_name(message.get("layer_name") or message["type"])
    vertices = list(chain.from_iterable(map(positions, geometries)))
    min_x, max_x, min_y, max_y = extent(vertices) if vertices else (None,) * 4
    has_height = any(len(position) > 2 for position in vertices)
    database = sqlite3.connect(":memory:")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {USER_VERSION}")
    database.executescript(_TABLES)
    for one in {srs.id: srs, **{one.id: one for one in _ALWAYS_THERE}}.values():
        written = (one.name, one.id, one.organization, one.code, one.wkt_1, "", one.wkt_2)
        database.execute("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?, ?)", written)
    database.execute("INSERT INTO gpkg_extensions VALUES (?, ?, ?, ?, ?)", _CRS_WKT)
    database.execute(
        "INSERT INTO gpkg_contents VALUES (?, 'features', ?, '', strftime('%Y-%m-%dT%H:%M:%fZ', ?, 'unixepoch'), "
        "?, ?, ?, ?, ?)",
        (table, table, message["timestamp"], min_x, min_y, max_x, max_y, srs.id),
    )
    database.execute(
        "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, ?, 0)", (table, kind, srs.id, 2 * has_height)
    )
    defined = "".join(f", {_quoted(column.name)} {column.type}" for column in columns)
    database.execute(
        f"CREATE TABLE {_quoted(table)} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom {kind}{defined})"
    )
    database.executemany(
        f"INSERT INTO {_quoted(table)} VALUES (NULL, ?{', ?' * len(columns)})",
        (
            (blob(geometry, srs.id), *(_cell(row.get(column.key), column) for column in columns))
            for geometry, row in zip(geometries, rows, strict=True)
        ),
    )
    database.commit()
    return database.serialize()


def _features(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    if message["type"] == "geojson":
        found: list[dict[str, Any]] = message["geojson"]["features"]
        return found
    if message["type"] == "position":
        geometry = {"type": "Point", "coordinates": [message["x"], message["y"]]}
    else:
        west, south, east, north = (message[name] for name in ("xmin", "ymin", "xmax", "ymax"))
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
    return [{"geometry": geometry, "properties": {"author": message["author"]}}]


def _table_name(name: str) -> str:
    """A valid table name; readers take names with some prefixes for tables of their own or of SQLite."""
    plain = name.replace("\0", "").strip() or "layer"
    return f"layer_{plain}" if re.match(r"(gpkg|sqlite|rtree)_", plain, re.I) else plain


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _confine() -> None:
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    _confine()
    message = msgspec.json.decode(sys.stdin.buffer.read())
    sys.stdout.buffer.write(geopackage(message))


if __name__ == "__main__":
    main()
