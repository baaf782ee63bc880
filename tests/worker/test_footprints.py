"""Geometries in WGS 84: curved edges, the antimeridian, poles, and coordinates that are not on the earth.

tests/proofs/test_antimeridian.py shows that all pieces are on the earth and are together what was cut.
"""

from functools import partial

import pytest
from pyproj import CRS

from tests.worker.pieces import checked_area
from worker.antimeridian import Path
from worker.crs import Projector, find
from worker.footprints import Project, extent, line, normal_point, polygon, straightened, thinned

WEST, EAST, NORTH_POLE, SOUTH_POLE = -180.0, 180.0, 90.0, -90.0


def project(crs: int | str, x: float, y: float) -> Project:
    """A projection from an EPSG code's or PROJ's CRS, by the best transformation around a point."""
    found = find(CRS(crs).to_wkt(), "")
    assert found is not None
    return partial(Projector(found).points, around=(x, y))


def square(x: float, y: float, radius: float) -> Path:
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    return [(x + radius * east, y + radius * north) for east, north in corners]


# The antimeridian (RFC 7946 §3.1.9)


def test_an_extent_across_the_antimeridian_is_cut_there() -> None:
    west, east = extent(170, -10, 190, 10, project(4326, 180, 0))
    assert checked_area([west, east]) == pytest.approx(400)
    assert (min(lon for lon, _ in west[0]), max(lon for lon, _ in west[0])) == (170, EAST)
    assert (min(lon for lon, _ in east[0]), max(lon for lon, _ in east[0])) == (WEST, -170)
    # Also in a CRS that is continuous there: Mercator around 150° E
    pieces = extent(3e6, -1e6, 4e6, 1e6, project(3832, 3.5e6, 0))
    assert len(pieces) == 2
    assert checked_area(pieces) == pytest.approx(17.967 * 8.983, rel=0.01)


def test_a_ring_becomes_as_many_pieces_as_it_crosses_and_keeps_its_holes() -> None:
    pieces = polygon([square(180, 0, 10), square(180, 0, 5), square(172, 0, 1)], project(4326, 0, 0))
    assert checked_area(pieces) == pytest.approx(400 - 100 - 4)
    assert sorted(map(len, pieces)) == [1, 2]
    horseshoe = [(170, 0), (190, 0), (190, 3), (175, 3), (175, 6), (190, 6), (190, 9), (170, 9), (170, 0)]
    pieces = polygon([horseshoe], project(4326, 0, 0))
    assert len(pieces) == 3
    assert checked_area(pieces) == pytest.approx(20 * 9 - 15 * 3)


def test_a_ring_that_touches_the_antimeridian_is_not_cut() -> None:
    east, west = [(170, 0), (180, 5), (170, 10), (170, 0)], [(-170, 0), (-180, 5), (-170, -5), (-170, 0)]
    for ring in (square(175, 0, 5), square(-175, 0, 5), east, west):
        (piece,) = polygon([ring], project(4326, 0, 0))
        assert {(round(lon, 6), round(lat, 6)) for lon, lat in piece[0]} == set(ring)


def test_the_whole_earth_is_one_piece() -> None:
    for bounds in [(-180, -90, 180, 90), (-400, -100, 400, 100)]:
        pieces = extent(*bounds, project(4326, 0, 0))
        assert len(pieces) == 1
        assert checked_area(pieces) == 360 * 180
    (piece,) = extent(-6e7, -2e7, 6e7, 2e7, project(3857, 0, 0))
    assert {lon for lon, _ in piece[0]} == {WEST, EAST}


# The poles


def test_an_extent_around_a_pole_contains_it() -> None:
    for code, pole in ((3413, NORTH_POLE), (3031, SOUTH_POLE)):
        (piece,) = pieces = extent(-1e6, -1e6, 1e6, 1e6, project(code, 0, 0))
        checked_area(pieces)
        assert {(WEST, pole), (EAST, pole)} <= set(piece[0])
        # From the pole, the sides are 1000 km away, the corners 1414 km
        edge = [abs(lat) for _, lat in piece[0] if abs(lat) != 90]
        assert (90 - max(edge), 90 - min(edge)) == pytest.approx((9.2, 13), abs=0.3)


def test_a_hole_around_a_pole_excludes_it_and_an_extent_near_one_does_not_reach_it() -> None:
    (piece,) = pieces = polygon([square(0, 0, 1e6), square(0, 0, 5e5)], project(3413, 0, 0))
    checked_area(pieces)
    assert max(lat for _, lat in piece[0]) < 86
    assert {lon for lon, _ in piece[0]} >= {WEST, EAST}
    pieces = extent(1e5, -1e6, 1e6, 1e6, project(3413, 5e5, 0))
    checked_area(pieces)
    assert max(lat for piece in pieces for _, lat in piece[0]) < 89.9


# Coordinates that are not on the earth


def test_an_extent_beyond_the_earth_is_clipped() -> None:
    half_of_the_earth = "+proj=ortho +lat_0=0 +lon_0=0 +datum=WGS84 +type=crs"
    pieces = extent(-7e6, -7e6, 7e6, 7e6, project(half_of_the_earth, 0, 0))
    assert 60 * 60 < checked_area(pieces) <= 180 * 180
    assert extent(7e6, 7e6, 8e6, 8e6, project(half_of_the_earth, 7e6, 7e6)) == []


def test_huge_coordinates_take_no_time() -> None:
    for far in (1e6, 1e300, float("inf")):
        pieces = extent(-far, -far, far, far, project(4326, 0, 0))
        assert pieces == [] or checked_area(pieces) <= 360 * 180
        assert line([(0, 0), (far, 0)], project(4326, 0, 0)) == []


def test_a_point_is_normalized_or_not_on_the_earth() -> None:
    assert [normal_point(lon, 0) for lon in (190, -540, 180)] == [(-170, 0), (-180, 0), (180, 0)]
    assert normal_point(10, 90.0000001) == (10, 90)
    for lon, lat in ((10, 91), (float("inf"), 0), (0, float("nan"))):
        assert normal_point(lon, lat) is None


# Fewer points


def test_a_straight_path_is_reduced_to_its_ends_and_a_thinned_ring_is_still_a_ring() -> None:
    path = [(float(number), 2.0 * number) for number in range(20)]
    assert straightened(path, 1e-9) == [path[0], path[-1]]
    bent = [*path[:10], (10.0, 25.0), *path[10:]]
    assert (10.0, 25.0) in straightened(bent, 0.1)
    ring = [*(((number % 7) / 10, number / 100) for number in range(50)), (0.0, 0.0)]
    for distance in (0.0, 0.2, 10.0):
        few = thinned(ring, distance, at_least=4)
        assert (few[0], few[-1], len(few) >= 4) == (ring[0], ring[-1], True)
    assert len(few) == 4
