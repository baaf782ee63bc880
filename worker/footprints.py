"""Geometries in WGS 84 by RFC 7946: cut at the antimeridian (§3.1.9), correct at the poles, rings right-handed.

Pure: the transformation to longitudes and latitudes is passed in. Angles are in degrees; a point is (lon, lat).

A line that is straight in its CRS may jump by 360° of longitude at the antimeridian. So a path is first unwrapped: its
longitudes continue beyond ±180. Where two vertices are too far apart to tell which way round the earth the path goes,
points between them are projected. Then the path is cut, and its pieces are shifted back between -180 and 180.

A polygon is clipped by the rectangle of the whole earth (Weiler and Atherton, 1977): each piece of a ring that ends at
the antimeridian continues along the rectangle's border, counter-clockwise, to the beginning of the next piece. If a
pole is inside, the border at its latitude is included, which makes polar caps correct.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import floor, hypot, inf, isfinite

Point = tuple[float, float]
Path = list[Point]
Polygon = list[Path]
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


def is_right_handed(path: Path, at: int | None = None) -> bool:
    """Whether a closed ring is counter-clockwise; True for a ring without area.

    Args:
        at: index of one of its westernmost points, if known.
    """
    if at is None:
        at = path.index(min(path))
    # A corner of the convex hull, where the ring turns in its overall direction.
    (x, y), (from_x, from_y), (to_x, to_y) = path[at], path[at - 1 if at else -2], path[(at + 1) % len(path)]
    turn = (x - from_x) * (to_y - y) - (y - from_y) * (to_x - x)
    return turn > 0 if turn else _area(path) >= 0


def _area(path: Path) -> float:
    return sum(x * to_y - to_x * y for (x, y), (to_x, to_y) in _pairs(path))


def normal_point(lon: float, lat: float) -> Point | None:
    """The same place with a longitude between -180 and 180; None if it is not on the earth."""
    if not isfinite(lon) or not isfinite(lat) or abs(lat) > 90 + _POLE_TOLERANCE:
        return None
    if abs(lon) > 180:
        lon = (lon + 180) % 360 - 180
    return lon, max(-90.0, min(lat, 90.0))


# From a CRS


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
        ring = _closed(vertices)
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


def _closed(vertices: Sequence[Point]) -> Path:
    ring = list(vertices)
    if ring and ring[0] != ring[-1]:
        ring.append(ring[0])
    return ring


def _traced(vertices: Sequence[Point], project: Project, pieces: int) -> Path:
    """Transform vertices, dividing each side into `pieces`, or more where its way round the earth is ambiguous.

    Points that are not on the earth are infinite, or beyond a pole.
    """
    found = _projected(vertices, project)
    traced = found[:1]
    for (start, end), (begin, finish) in zip(_pairs(vertices), _pairs(found), strict=True):
        parts = PIECES if abs(finish[0] - begin[0]) > MAX_STEP else pieces
        if parts == 1:
            traced.append(finish)
            continue
        between = [_between(start, end, part / parts) for part in range(1, parts)]
        sides = _pairs([start, *between, end])
        ends = _pairs([begin, *_projected(between, project), finish])
        for side, its_ends in zip(sides, ends, strict=True):
            traced += _halved(*side, *its_ends, project, _HALVINGS)
    return traced


def _halved(start: Point, end: Point, begin: Point, finish: Point, project: Project, times: int) -> Path:
    """The points after `begin` up to `finish`, in steps of at most MAX_STEP if `times` halvings suffice."""
    if abs(_turn(begin[0], finish[0])) <= MAX_STEP or not times:
        return [finish]
    middle = _between(start, end, 0.5)
    (here,) = _projected([middle], project)
    first = _halved(start, middle, begin, here, project, times - 1)
    return first + _halved(middle, end, here, finish, project, times - 1)


def _projected(points: Sequence[Point], project: Project) -> Path:
    xs, ys = array("d", [x for x, _ in points]), array("d", [y for _, y in points])
    project(xs, ys)
    return [(lon, lat) if abs(lon) <= _FARTHEST else _NOWHERE for lon, lat in zip(xs, ys, strict=True)]


def _pairs(items: Sequence[Point]) -> Iterable[tuple[Point, Point]]:
    return pairwise(items)


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


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


# Cutting


def cut_line(path: Path) -> list[Path]:
    """Cut an unwrapped path at the antimeridian; the pieces lie between -180 and 180."""
    return [chain for _, chain in _chains(path)]


def _chains(path: Path) -> list[tuple[int, Path]]:
    """Cut an unwrapped path at the antimeridian; returns (cell, piece) pairs: each was shifted by cell × 360°."""
    chains: list[tuple[int, Path]] = []
    for start, end in _pairs(path):
        for begin, finish in _pairs([start, *_crossings(start, end), end]):
            if begin == finish:
                continue
            cell = _cell(begin, finish)
            if not chains or chains[-1][0] != cell:
                chains.append((cell, [_shifted(begin, cell)]))
            chains[-1][1].append(_shifted(finish, cell))
    return chains


def _crossings(start: Point, end: Point) -> Path:
    """The points where a step crosses the antimeridian, in its direction."""
    (west, _), (east, _) = sorted((start, end))
    cells = range(floor((west + 180) / 360) + 1, floor((east + 180) / 360) + 1)
    meridians = [360.0 * cell - 180 for cell in cells]
    found = [(lon, _latitude_at(lon, start, end)) for lon in meridians if west < lon < east]
    return found if start[0] < end[0] else found[::-1]


def _latitude_at(lon: float, start: Point, end: Point) -> float:
    return start[1] + (end[1] - start[1]) * (lon - start[0]) / (end[0] - start[0])


def _cell(begin: Point, finish: Point) -> int:
    """The cell between antimeridians that contains a step; for a step along an antimeridian, the cell on its left."""
    middle = (begin[0] + finish[0]) / 2
    cell = floor((middle + 180) / 360)
    is_along = begin[0] == finish[0] == 360.0 * cell - 180
    return cell - 1 if is_along and finish[1] > begin[1] else cell


def _shifted(point: Point, cell: int) -> Point:
    return max(-180.0, min(point[0] - 360.0 * cell, 180.0)), point[1]


def cut_polygon(rings: Sequence[Path]) -> list[Polygon]:
    """Cut a polygon at the antimeridian; the pieces lie between -180 and 180.

    Its rings are unwrapped and closed (or enclose a pole and end 360° from their beginning), their inside on the left.
    """
    uncut: dict[int, list[Path]] = {}
    holes: list[tuple[int, Path]] = []
    open_chains: dict[int, list[Path]] = {}
    turns = [round((ring[-1][0] - ring[0][0]) / 360) for ring in rings]
    for number, (ring, turn) in enumerate(zip(rings, turns, strict=True)):
        # The last longitude may differ from the first by a rounding error.
        chains = _chains(ring if turn else [*ring[:-1], ring[0]])
        if not chains:
            continue
        first, last = chains[0], chains[-1]
        if len(chains) == 1 and not turn:
            if number:
                holes.append(first)
            else:
                uncut.setdefault(first[0], []).append(first[1])
            continue
        if last[0] - turn == first[0] and len(chains) > 1:  # the ring begins within a piece
            chains[0] = first[0], last[1] + first[1][1:]
            chains.pop()
        for cell, chain in chains:
            open_chains.setdefault(0 if any(turns) else cell, []).append(chain)
    pieces = [(cell, [ring]) for cell, found in uncut.items() for ring in found]
    pieces += [(cell, [ring]) for cell, found in open_chains.items() for ring in _joined(found)]
    for cell, hole in holes:
        for other, piece in pieces:
            if (any(turns) or other == cell) and (len(pieces) == 1 or _is_inside(_inner_point(hole), piece[0])):
                piece.append(hole)
                break
    return [_right_handed(piece) for _, piece in pieces if len(piece[0]) >= 4]


_RIGHT, _TOP, _LEFT, _BOTTOM = (
    180.0,
    540.0,
    720.0,
    1080.0,
)  # ends of the border's sides, as distances from its lower right corner


def _border_place(point: Point) -> float:
    """A point's distance along the border of the earth, counter-clockwise from the lower right corner."""
    return point[1] + 90 if point[0] > 0 else _TOP + 90 - point[1]


_CORNERS: list[tuple[float, Point]] = [
    (_RIGHT, (180.0, 90.0)),
    (_TOP, (-180.0, 90.0)),
    (_LEFT, (-180.0, -90.0)),
    (_BOTTOM, (180.0, -90.0)),
]


def _joined(chains: list[Path]) -> list[Path]:
    """Join chains that begin and end on the border, with the inside on their left, to closed rings."""
    begins = sorted((_border_place(chain[0]), number) for number, chain in enumerate(chains))
    left = set(range(len(chains)))
    rings = []
    while left:
        number = min(left)
        ring: Path = []
        while number in left:
            left.remove(number)
            ring += chains[number]
            place = _border_place(chains[number][-1])
            later = [begin for begin in begins if begin[0] >= place]
            begin, number = min(later) if later else min(begins)
            ring += _corners_between(place, begin if later else begin + _BOTTOM)
        rings.append(_closed(_without_repeats(ring)))
    return rings


def _corners_between(start: float, end: float) -> Path:
    return [point for round_ in (0.0, _BOTTOM) for place, point in _CORNERS if start < place + round_ < end]


def _without_repeats(path: Path) -> Path:
    return [point for number, point in enumerate(path) if not number or point != path[number - 1]]


def _right_handed(rings: Polygon) -> Polygon:
    """Orient rings by RFC 7946 §3.1.6: outer rings counter-clockwise, holes clockwise."""
    return [ring if is_right_handed(ring) == (number == 0) else ring[::-1] for number, ring in enumerate(rings)]


def _inner_point(ring: Path) -> Point:
    """The middle of a ring's first side, which touches no other ring of a valid polygon."""
    return _between(ring[0], ring[1], 0.5)


def _is_inside(point: Point, ring: Path) -> bool:
    """Whether a point is inside a ring, by counting crossings of a ray to the east."""
    is_inside = False
    for start, end in _pairs(ring):
        if (start[1] > point[1]) != (end[1] > point[1]):
            lon = start[0] + (end[0] - start[0]) * (point[1] - start[1]) / (end[1] - start[1])
            is_inside ^= point[0] < lon
    return is_inside


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
