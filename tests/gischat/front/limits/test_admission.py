"""Which messages a front takes, by the bytes of all that came and are not in Redis yet."""

from typing import Any

import pytest

from gischat.errors import RefusalReason, Unavailable
from gischat.front.limits import admission
from gischat.front.limits.admission import Admission
from gischat.front.limits.rejection_log import RejectionLog
from gischat.observability.metrics import CloseReason
from tests.support import shares
from tests.support.settings import settings
from tests.support.shares import JANE, JOHN, ROOM, SHARES
from tests.support.virtual_time import virtual_time

REFUSALS = {
    shares.ADDRESS_FULL: admission.ADDRESS_FULL,
    shares.FULL: admission.SERVER_FULL,
}


class Scene:
    """A front that holds so many bytes of messages."""

    def __init__(self, max_bytes: int, **limits: Any) -> None:
        self.rejections = RejectionLog()
        self.admission = Admission(settings(max_front_bytes=max_bytes, **limits), self.rejections)

    def refusal(self, address: str, size: int, ahead: int = 0, waiting_bytes: int = 0) -> tuple[str, str] | None:
        try:
            self.admission.admit(address, size, ahead, waiting_bytes)
        except Unavailable as refusal:
            return refusal.reason, refusal.cause
        return None


@virtual_time
async def test_an_address_may_have_as_much_as_is_free_for_others() -> None:
    scene = Scene(ROOM * 1000)
    for address, outcome in SHARES:
        assert scene.refusal(address, 1000) == REFUSALS.get(outcome), address
    # And when what was admitted is in Redis, as before
    for address, outcome in SHARES:
        if outcome == shares.ADMITTED:
            scene.admission.release(address, 1000)
    assert scene.admission.used == 0
    assert scene.admission._admitted_of == {}
    assert scene.refusal(JANE, 1000) is None


@virtual_time
async def test_what_is_larger_than_all_is_admitted_alone() -> None:
    scene = Scene(1000)
    assert scene.refusal(JANE, 5000) is None
    assert scene.refusal(JOHN, 1) == admission.SERVER_FULL


@pytest.mark.parametrize(
    ("size", "ahead", "waiting_bytes", "is_refused"),
    [(1, 2, 999, False), (1, 3, 2, True), (2, 2, 999, True), (5000, 1, 0, False), (5000, 0, 0, False)],
)
@virtual_time
async def test_a_connection_may_have_so_many_waiting(
    size: int, ahead: int, waiting_bytes: int, is_refused: bool
) -> None:
    scene = Scene(10**6, max_waiting_messages=2, max_waiting_bytes=1000)
    refusal = scene.refusal(JANE, size, ahead, waiting_bytes)
    assert refusal == (admission.CONNECTION_FULL if is_refused else None)


@virtual_time
async def test_what_waits_for_long_leaves_room_for_what_goes_to_redis_at_once() -> None:
    scene = Scene(8000)
    # Given messages that wait behind others of their connections, of as many addresses as are admitted
    for number in range(100):
        scene.refusal(str(number), 100, ahead=1)
    assert scene.refusal(JOHN, 100, ahead=1) == admission.SERVER_FULL
    # Then another address' message that need not wait is admitted
    assert scene.refusal(JANE, 1000) is None


class Uploader:
    """Somebody of whose message some has come, and who is refused or closed when it has to go."""

    def __init__(self, scene: Scene, address: str, size: int, *, is_closed: bool = False) -> None:
        self.admission = scene.admission
        self.address = address
        self.size = 0
        self.is_gone = False
        self.is_closed = is_closed
        self.hold(size)

    def hold(self, size: int) -> None:
        self.size, more = size, size - self.size
        self.admission.reserve(self, self.address, more)

    def evict(self) -> bool:
        self.is_gone = True
        self.hold(0)
        return self.is_closed


@virtual_time
async def test_of_what_is_unfinished_the_largest_of_the_address_that_has_most_goes() -> None:
    scene = Scene(1_000_000)
    # Given people of an office, each with a photo, and somebody elsewhere with a larger one
    office = [Uploader(scene, "office", 20_000) for _ in range(10)]
    jane = Uploader(scene, JANE, 300_000)
    # When an address holds back the ends of many messages, each of which is smaller
    mallory = [Uploader(scene, "mallory", 10_000 + number, is_closed=number == 59) for number in range(60)]
    # Then its largest have gone, and no more of them than had to
    assert [one.is_gone for one in mallory] == [False] * 49 + [True] * 11
    assert not any(one.is_gone for one in [*office, jane])
    assert scene.rejections.counts == {RefusalReason.SERVER_FULL: 10, CloseReason.MEMORY: 1}
    # And what ends is forgotten
    for one in [*office, jane, *mallory]:
        one.hold(0)
    assert scene.admission.used == 0
    assert scene.admission._reading == scene.admission._reading_of == {}


@virtual_time
async def test_what_is_complete_does_not_wait_for_what_is_not_which_makes_room() -> None:
    scene = Scene(1_000_000)
    # Given an address that has some photos waiting, and others in the middle of larger ones
    assert scene.refusal("mallory", 400_000) is None
    mallory = Uploader(scene, "mallory", 200_000)
    jane = Uploader(scene, JANE, 300_000)
    # When somebody's photo is complete, it is taken, and of what is unfinished that goes whose address has most in all
    assert scene.refusal(JOHN, 250_000) is None
    assert (mallory.is_gone, jane.is_gone) == (True, False)
    assert scene.admission.used == 950_000
