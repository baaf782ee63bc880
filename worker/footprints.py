"""Geometries of any CRS in WGS 84 by RFC 7946.

Pure: the transformation to longitudes and latitudes is passed in. Angles are in degrees; a point is (lon, lat).

A line that is straight in its CRS may jump by 360° of longitude at the antimeridian. So a path is first unwrapped: its
longitudes continue beyond ±180. Where two vertices are too far apart to tell which way round the earth the path goes,
points between them are projected. Then it is cut: see `worker.antimeridian`.
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import floor, hypot, inf, isfinite

from worker.antimeridian import Path, Point, Polygon, between, closed, cut_line, cut_polygon, is_right_handed

Project = Callable[["array[float]", "array[float]"], None]
"""Transforms arrays of x and y in place to longitudes and latitudes; infinite where undefined."""

PIECES = 16
"""Parts of a side of an extent, which bends, and of a step that may lead either way round the earth."""

MAX_STEP = 60.0
"""Degrees of longitude between two points of a path; longer steps are halved, some times."""

_HALVINGS = 5
_FARTHEST = 3600.0  # degrees of longitude; beyond that a result is taken as undefined
_NOWHERE = (inf, inf)
_POLE_TOLERANCE = 1e-6  # degrees beyond 90°, for rounding errors
_WHOLE_EARTH = 360.0


def normal_point(lon: float, lat: float) -> Point | None:
    """The same place with a longitude between -180 and 180; None if it is not on the earth."""
    if not isfinite(lon) or not isfinite(lat) or abs(lat) > 90 + _POLE_TOLERANCE:
        return None
    if abs(lon) > 180:
        lon = (lon + 180) % 360 - 180
    return lon, max(-90.0, min(lat, 90.0))


def line(vertices: Sequence[Point], project: Project) -> list[Path]:
    """Transform a line; returns one or more pieces, none if no part of it is on the earth."""
    return cut_line(_unwrapped(_traced(vertices, project, 1)))


def polygon(rings: Sequence[Sequence[Point]], project: Project) -> list[Polygon]:
    """Transform a polygon, given as its rings with the outer one first; returns one or more pieces."""
    return _cut_rings(rings, project, 1)


def extent(xmin: float, ymin: float, xmax: float, ymax: float, project: Project) -> list[Polygon]:
    """Transform a rectangle, whose sides bend.

    If parts of its sides are not on the earth, the result is the bounding box of the rest, in meridians and parallels.
    """
    corners = [(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax), (xmin, ymin)]
    if not all(map(isfinite, (xmin, ymin, xmax, ymax))):
        return []
    traced = _traced(corners, project, PIECES)
    if not _is_whole(traced):
        return _surroundings(xmin, ymin, xmax, ymax, project)
    path = _unwrapped(traced)
    turn = path[-1][0] - path[0][0]
    lons, lats = zip(*path, strict=True)
    if abs(turn) < 180 and max(lons) - min(lons) > _WHOLE_EARTH:
        return box(-180.0, max(min(lats), -90.0), 180.0, min(max(lats), 90.0))
    return _cut_rings([corners], project, PIECES)


def box(west: float, south: float, east: float, north: float) -> list[Polygon]:
    """The area between meridians and parallels; it crosses the antimeridian if west > east."""
    if west > east:
        east += _WHOLE_EARTH
    return cut_polygon([[(west, south), (east, south), (east, north), (west, north), (west, south)]])


def _surroundings(xmin: float, ymin: float, xmax: float, ymax: float, project: Project) -> list[Polygon]:
    xs, ys = array("d"), array("d")
    for row in range(PIECES + 1):
        for column in range(PIECES + 1):
            xs.append(xmin + (xmax - xmin) * column / PIECES)
            ys.append(ymin + (ymax - ymin) * row / PIECES)
    project(xs, ys)
    found = list(filter(None, map(normal_point, xs, ys)))
    if not found:
        return []
    lons, lats = zip(*found, strict=True)
    return box(min(lons), min(lats), max(lons), max(lats))


def _cut_rings(rings: Sequence[Sequence[Point]], project: Project, pieces: int) -> list[Polygon]:
    paths = []
    for number, vertices in enumerate(rings):
        ring = closed(vertices)
        if len(ring) < 4:
            continue
        # Outer rings counter-clockwise, holes clockwise: done in the CRS, since on the earth a ring may enclose a pole.
        if is_right_handed(ring) != (number == 0):
            ring.reverse()
        path = _unwrapped(_traced(ring, project, pieces))
        if len(path) >= 4:
            paths.append(path)
        elif number == 0:
            return []
    return cut_polygon(paths) if paths else []


def _traced(vertices: Sequence[Point], project: Project, pieces: int) -> Path:
    """Transform vertices, dividing each side into `pieces`, or more where its way round the earth is ambiguous.

    Points that are not on the earth are infinite, or beyond a pole.
    """
    found = _projected(vertices, project)
    traced = found[:1]
    for (start, end), (begin, finish) in zip(pairwise(vertices), pairwise(found), strict=True):
        parts = PIECES if abs(finish[0] - begin[0]) > MAX_STEP else pieces
        if parts == 1:
            traced.append(finish)
            continue
        inner = [between(start, end, part / parts) for part in range(1, parts)]
        sides = pairwise([start, *inner, end])
        ends = pairwise([begin, *_projected(inner, project), finish])
        for side, its_ends in zip(sides, ends, strict=True):
            traced += _halved(*side, *its_ends, project, _HALVINGS)
    return traced


def _halved(start: Point, end: Point, begin: Point, finish: Point, project: Project, times: int) -> Path:
    """The points after `begin` up to `finish`, in steps of at most MAX_STEP if `times` halvings suffice."""
    if abs(_turn(begin[0], finish[0])) <= MAX_STEP or not times:
        return [finish]
    middle = between(start, end, 0.5)
    (here,) = _projected([middle], project)
    first = _halved(start, middle, begin, here, project, times - 1)
    return first + _halved(middle, end, here, finish, project, times - 1)


def _projected(points: Sequence[Point], project: Project) -> Path:
    xs, ys = array("d", [x for x, _ in points]), array("d", [y for _, y in points])
    project(xs, ys)
    return [(lon, lat) if abs(lon) <= _FARTHEST else _NOWHERE for lon, lat in zip(xs, ys, strict=True)]


def _turn(begin: float, end: float) -> float:
    """The signed difference between two longitudes the shorter way round."""
    difference = end - begin
    return difference - 360 * floor((difference + 180) / 360) if isfinite(difference) else 0.0


def _is_whole(path: Path) -> bool:
    return all(isfinite(lon) and isfinite(lat) for lon, lat in path)


def _unwrapped(path: Path) -> Path:
    """Unwrap a path, so that its longitudes continue beyond ±180; drops points that are not on the earth."""
    unwrapped: Path = []
    for lon, lat in path:
        if not isfinite(lon) or not isfinite(lat):
            continue
        here = unwrapped[-1][0] + _turn(unwrapped[-1][0], lon) if unwrapped else lon
        unwrapped.append((here, max(-90.0, min(lat, 90.0))))
    return unwrapped


# Simplification


def straightened(path: Path, tolerance: float) -> Path:
    """Simplify a path to a tolerance in degrees (Douglas and Peucker, 1973).

    For paths of some hundred points: the worst case is quadratic.
    """
    kept = [False] * len(path)
    kept[0] = kept[-1] = True
    spans = [(0, len(path) - 1)]
    while spans:
        first, last = spans.pop()
        farthest, distance = 0, tolerance
        (x, y), (to_x, to_y) = path[first], path[last]
        length = hypot(to_x - x, to_y - y)
        for number in range(first + 1, last):
            dx, dy = path[number][0] - x, path[number][1] - y
            away = abs(dx * (to_y - y) - dy * (to_x - x)) / length if length else hypot(dx, dy)
            if away > distance:
                farthest, distance = number, away
        if farthest:
            kept[farthest] = True
            spans += [(first, farthest), (farthest, last)]
    return [point for point, is_kept in zip(path, kept, strict=True) if is_kept]


def thinned(path: Sequence[Point], distance: float, at_least: int) -> Path:
    """Drop points that are closer than `distance` degrees to the one before, but keep `at_least` points, for rings."""
    kept = [path[0]]
    for place, point in enumerate(path[1:-1], start=1):
        x, y = kept[-1]
        left = len(path) - place  # including this one
        if abs(point[0] - x) > distance or abs(point[1] - y) > distance or len(kept) + left <= at_least:
            kept.append(point)
    return [*kept, path[-1]] if len(path) > 1 else kept
