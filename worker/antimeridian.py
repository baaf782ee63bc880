"""Paths and polygons in WGS 84, cut at the antimeridian (RFC 7946 §3.1.9); polygons are correct at the poles.

Pure. Angles are in degrees; a point is (lon, lat). A path is given unwrapped: its longitudes continue beyond ±180. Its
pieces are shifted back between -180 and 180.

A polygon is clipped by the rectangle of the whole earth (Weiler and Atherton, 1977): each piece of a ring that ends at
the antimeridian continues along the rectangle's border, counter-clockwise, to the beginning of the next piece. If a
pole is inside, the border at its latitude is included, which makes polar caps correct.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import floor

Point = tuple[float, float]
Path = list[Point]
Polygon = list[Path]


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
    return sum(x * to_y - to_x * y for (x, y), (to_x, to_y) in pairwise(path))


def closed(vertices: Sequence[Point]) -> Path:
    ring = list(vertices)
    if ring and ring[0] != ring[-1]:
        ring.append(ring[0])
    return ring


def between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def cut_line(path: Path) -> list[Path]:
    """Cut an unwrapped path at the antimeridian; the pieces lie between -180 and 180."""
    return [chain for _, chain in _chains(path)]


def _chains(path: Path) -> list[tuple[int, Path]]:
    """Cut an unwrapped path at the antimeridian; returns (cell, piece) pairs: each was shifted by cell × 360°."""
    chains: list[tuple[int, Path]] = []
    for start, end in pairwise(path):
        for begin, finish in pairwise([start, *_crossings(start, end), end]):
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


# Ends of the border's sides, as distances along it from the lower right corner
_RIGHT, _TOP, _LEFT, _BOTTOM = 180.0, 540.0, 720.0, 1080.0


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
            ring += _cornersbetween(place, begin if later else begin + _BOTTOM)
        rings.append(closed(_without_repeats(ring)))
    return rings


def _cornersbetween(start: float, end: float) -> Path:
    return [point for round_ in (0.0, _BOTTOM) for place, point in _CORNERS if start < place + round_ < end]


def _without_repeats(path: Path) -> Path:
    return [point for number, point in enumerate(path) if not number or point != path[number - 1]]


def _right_handed(rings: Polygon) -> Polygon:
    """Orient rings by RFC 7946 §3.1.6: outer rings counter-clockwise, holes clockwise."""
    return [ring if is_right_handed(ring) == (number == 0) else ring[::-1] for number, ring in enumerate(rings)]


def _inner_point(ring: Path) -> Point:
    """The middle of a ring's first side, which touches no other ring of a valid polygon."""
    return between(ring[0], ring[1], 0.5)


def _is_inside(point: Point, ring: Path) -> bool:
    """Whether a point is inside a ring, by counting crossings of a ray to the east."""
    is_inside = False
    for start, end in pairwise(ring):
        if (start[1] > point[1]) != (end[1] > point[1]):
            lon = start[0] + (end[0] - start[0]) * (point[1] - start[1]) / (end[1] - start[1])
            is_inside ^= point[0] < lon
    return is_inside
