"""Whatever crosses the antimeridian or a pole: its pieces are on the earth, and together what was cut."""

import functools
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from tests.worker.pieces import area, checked_area
from worker.antimeridian import Path, cut_line, cut_polygon
from worker.crs import Projector, find
from worker.footprints import extent

lons, lats = st.floats(-400, 400), st.floats(-90, 90)
# Now and then exactly on an antimeridian, or at a pole
edges = st.sampled_from([-540.0, -180.0, 180.0])
points = st.tuples(lons | edges, lats | st.sampled_from([-90.0, 90.0]))
radii = st.lists(st.floats(0.5, 1.0), min_size=3, max_size=12)


def star(x: float, y: float, size: float, spokes: list[float]) -> Path:
    """A ring round a point that it sees wholly, counter-clockwise."""
    turns = [math.tau * number / len(spokes) for number in range(len(spokes))]
    ring = [
        (x + size * spoke * math.cos(turn), y + size / 2 * spoke * math.sin(turn))
        for turn, spoke in zip(turns, spokes, strict=True)
    ]
    return [*ring, ring[0]]


@given(st.lists(points, min_size=2, max_size=12))
def test_the_pieces_of_a_line_are_as_long_as_it(path: Path) -> None:
    pieces = cut_line(path)
    assert all(-180 <= lon <= 180 for piece in pieces for lon, _ in piece)
    assert all(len(piece) >= 2 for piece in pieces)
    length = sum(math.dist(*step) for piece in pieces for step in pairwise(piece))
    assert length == pytest.approx(sum(math.dist(*step) for step in pairwise(path)), abs=1e-6)


@given(st.floats(-400, 400) | edges, st.floats(-40, 40), st.floats(1, 80), radii, radii, st.booleans())
def test_the_pieces_of_a_polygon_cover_what_it_did(
    x: float, y: float, size: float, spokes: list[float], inner: list[float], has_hole: bool
) -> None:
    rings = [star(x, y, size, spokes)]
    if has_hole and len(spokes) >= 5:  # else it might reach beyond the outer ring
        rings.append(star(x, y, size / 8, inner)[::-1])
    covered = checked_area(cut_polygon(rings))
    assert covered == pytest.approx(sum(map(area, rings)), rel=1e-9, abs=1e-6)


@given(st.floats(-180, 180) | st.just(-180.0), st.booleans(), st.lists(st.floats(30, 89), min_size=4, max_size=12))
def test_a_cap_holds_its_pole(start: float, is_north: bool, heights: list[float]) -> None:
    sign = 1 if is_north else -1
    steps = [(start + sign * 360 * number / len(heights), sign * height) for number, height in enumerate(heights)]
    ring = [*steps, (start + sign * 360, sign * heights[0])]
    pieces = cut_polygon([ring])
    covered = checked_area(pieces)
    assert len(pieces) == 1
    assert {(-180.0, sign * 90.0), (180.0, sign * 90.0)} <= set(pieces[0][0])
    under = sum((abs(x - to_x)) * (180 - abs(y) - abs(to_y)) / 2 for (x, y), (to_x, to_y) in pairwise(ring))
    assert covered == pytest.approx(under, rel=1e-9)


CRS_CODES = [2154, 3031, 3413, 3832, 3857, 4326, 27700, 32735]
coordinates = st.floats(-1e8, 1e8) | st.floats(-200, 200) | st.floats(allow_nan=False, allow_infinity=False)


@functools.cache
def projector(code: int) -> Projector:
    crs = find(CRS.from_epsg(code).to_wkt(), "")
    assert crs is not None
    return Projector(crs)


@given(st.sampled_from(CRS_CODES), st.tuples(coordinates, coordinates), st.tuples(coordinates, coordinates))
def test_any_extent_is_on_the_earth_or_nowhere(code: int, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    project = functools.partial(projector(code).points, around=(sum(xs) / 2, sum(ys) / 2))
    pieces = extent(min(xs), min(ys), max(xs), max(ys), project)
    assert all(-180 <= lon <= 180 and -90 <= lat <= 90 for piece in pieces for ring in piece for lon, lat in ring)
    assert all(ring[0] == ring[-1] and len(ring) >= 4 for piece in pieces for ring in piece)
