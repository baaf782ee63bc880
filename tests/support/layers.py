"""GeoJSON builders."""

from typing import Any

GeoJson = dict[str, Any]

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]


def point(*coordinates: float) -> GeoJson:
    return {"type": "Point", "coordinates": list(coordinates)}


def geometry(type_: str, coordinates: Any) -> GeoJson:
    """A geometry of any type but GeometryCollection."""
    return {"type": type_, "coordinates": coordinates}


def feature(geometry_: Any, **members: Any) -> GeoJson:
    """A Feature; `members` replace or add members."""
    return {"type": "Feature", "geometry": geometry_, "properties": {}, **members}


def layer(features: list[Any], **members: Any) -> GeoJson:
    """A FeatureCollection; `members` replace or add members."""
    return {"type": "FeatureCollection", "features": features, **members}


def large_layer() -> GeoJson:
    """A layer whose body is in chunks: see `gischat.broker.bodies`."""
    return layer([feature(geometry("LineString", [[number, number / 7] for number in range(30_000)]))])


def points(number: int) -> GeoJson:
    """A layer of that many points, with properties as exported by QGIS."""

    def building(i: int) -> GeoJson:
        properties = {"fid": i, "nom": f"Bâtiment {i}", "area": i / 11, "listed": i % 2 == 0, "note": None}
        return feature(point(652000 + i / 3, 6862000 - i / 7), id=i, properties=properties)

    return layer([building(i) for i in range(number)], name="bâtiments")
