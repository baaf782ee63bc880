"""Frames, parsed by another implementation of RFC 6455."""

import pytest

from gischat.front.transport.frames import text_frame

# The length takes 7 bits, or 16 after 126, or 64 after 127; always the fewest possible (§5.2)
HEADERS = [
    (0, "81 00"),
    (1, "81 01"),
    (125, "81 7d"),
    (126, "81 7e 007e"),
    (127, "81 7e 007f"),
    (65_535, "81 7e ffff"),
    (65_536, "81 7f 0000000000010000"),
    (5_000_000, "81 7f 00000000004c4b40"),
]


@pytest.mark.parametrize(("size", "header"), HEADERS)
def test_the_header_is_that_of_a_final_unmasked_text_with_the_shortest_length(size: int, header: str) -> None:
    payload = b"x" * size
    assert text_frame(payload) == bytes.fromhex(header) + payload
