"""What holds for all pieces that geometries are cut into."""

from itertools import pairwise

import pytest

from worker.antimeridian import Path, Polygon


def area(ring: Path) -> float:
    """The signed area in square degrees, positive for counter-clockwise rings."""
    return sum(x * to_y - to_x * y for (x, y), (to_x, to_y) in pairwise(ring)) / 2


def checked_area(pieces: list[Polygon]) -> float:
    """The area of all pieces in square degrees; each is as RFC 7946 wants it: on the earth, with right-handed rings."""
    for piece in pieces:
        for number, ring in enumerate(piece):
            assert ring[0] == ring[-1]
            assert len(ring) >= 4
            assert all(-180 <= lon <= 180 and -90 <= lat <= 90 for lon, lat in ring)
            assert all(abs(lon - to_lon) <= 180 or lat == to_lat for (lon, lat), (to_lon, to_lat) in pairwise(ring))
            assert (area(ring) >= 0) == (number == 0) or area(ring) == pytest.approx(0, abs=1e-6)
    return sum(area(ring) for piece in pieces for ring in piece)
