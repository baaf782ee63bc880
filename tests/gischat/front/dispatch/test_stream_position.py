"""A front's position in a channel's publications, as a table."""

import pytest

from gischat.front.dispatch.stream_position import Continuity, StreamPosition

NEXT, GAP, RESTARTED = Continuity


@pytest.mark.parametrize(
    ("start", "numbers", "found", "offset", "required"),
    [
        (0, [1, 2, 3], [NEXT, NEXT, NEXT], 3, 3),
        (7, [], [], 7, 0),  # nothing is required that this front has not received
        (7, [8], [NEXT], 8, 8),
        (7, [10, 11], [GAP, NEXT], 11, 11),
        (7, [8, 8], [NEXT, RESTARTED], 8, 8),
        (7, [8, 1, 2], [NEXT, RESTARTED, NEXT], 2, 8),  # no newer job may be accepted yet
        (7, [8, 1, 5], [NEXT, RESTARTED, GAP], 5, 8),
        (7, [8, 1, 9], [NEXT, RESTARTED, GAP], 9, 9),
    ],
)
def test_the_position_after_some_publications(
    start: int, numbers: list[int], found: list[Continuity], offset: int, required: int
) -> None:
    position = StreamPosition()
    position.start_at(start)
    seen = []
    for number in numbers:
        seen.append(position.compare(number))
        position.advance(number)
    assert (seen, position.offset, position.required) == (found, offset, required)


def test_after_a_reset_only_later_publications_are_required() -> None:
    position = StreamPosition()
    position.advance(10)
    position.reset()
    assert (position.offset, position.required) == (10, 0)
    position.advance(2)
    assert (position.offset, position.required) == (2, 2)
