"""What could not be posted is kept, and does not fill Redis."""

import pytest

from gischat.hooks import letters
from gischat.hooks.letters import HookLetters
from tests.gischat.broker.wire import CHANNEL, Wire, start, wire

__all__ = ["start", "wire"]  # fixtures

URL = "https://example.org/"

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_letters_are_bounded_in_bytes_and_the_oldest_go(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "MAX_BYTES", 1000)
    kept = HookLetters(wire.settings, wire.redis)
    for number in range(5):
        await kept.add(CHANNEL, URL, "text", "no", b"%d" % number * 300)
    assert [letter.body[:1] for letter in await kept.all()] == [b"2", b"3", b"4"]

    # … by who comes after a restart, too; and the newest always stays
    again = HookLetters(wire.settings, wire.redis)
    await again.add(CHANNEL, URL, "text", "no", b"5" * 500)
    assert [letter.body[:1] for letter in await again.all()] == [b"4", b"5"]
    await again.add(CHANNEL, URL, "text", "no", b"6" * 2000)
    assert [letter.body[:1] for letter in await again.all()] == [b"6"]
