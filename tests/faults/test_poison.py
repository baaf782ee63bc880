"""Jobs that kill workers get three tries, those that hang one: buried, told; and what an operator does with them."""

import os
import signal
import uuid

import psutil
import pytest
from PIL import Image

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64, encoded
from tests.support.processes import Process, run_to_end


@pytest.fixture(scope="module")
def laborious() -> str:
    """A picture that takes a worker the better part of a second: long enough to be killed over."""
    return as_base64(encoded(Image.new("RGB", (7900, 7900), (200, 30, 30)), "PNG", compress_level=9))


async def test_a_picture_that_kills_workers_is_buried_and_nothing_else_suffers(
    make_scene: MakeScene, laborious: str
) -> None:
    async with make_scene(fronts=1) as scene:
        await scene.talk(talkers=2, guests=1)
        await scene.flow(10)
        worker = scene.stack.heavy[0]
        victim = await Client.connect(scene.urls[0], CHANNEL)
        id = str(uuid.uuid4())

        # When a picture takes three workers with it
        await victim.send(**sample("image", id=id, image_data=laborious))
        for _ in range(3):
            await until(lambda: _computing(worker), "a worker to take the picture")
            worker.kill()
            await until(lambda: worker.running, "the worker to be started again")

        # Then its sender is told, and an operator can see why
        assert await victim.refusal() == "This message could not be processed by the server. It was not sent."
        listed = _dead(scene, "list")
        assert listed.endswith("1 dead letters\n")
        assert "image" in listed
        assert "3 workers did not end it." in listed
        place = listed.split()[0]
        assert f'"id":"{id}"' in _dead(scene, "show", place)

        # And when it is tried again, and all is well now, it comes
        assert "with the workers again" in _dead(scene, "retry", place)
        await victim.until(id=id)
        assert _dead(scene, "list") == "0 dead letters\n"
        await victim.leave()
        await scene.flow(10)
        await scene.settle()


@pytest.mark.parametrize(
    ("signals", "told", "reason"),
    [
        (
            [signal.SIGKILL] * 3,
            "This message could not be processed by the server. It was not sent.",
            "3 times Crashed",
        ),
        # What takes too long would take as long again, and hold up all others meanwhile: it gets one try.
        (
            [signal.SIGSTOP],
            "This message takes too long to process. Please send something smaller or simpler. It was not sent.",
            "It took longer than 3 seconds.",
        ),
    ],
    ids=["crashes", "hangs"],
)
async def test_a_picture_that_ends_its_computation_is_buried(
    make_scene: MakeScene, laborious: str, signals: list[signal.Signals], told: str, reason: str
) -> None:
    async with make_scene(fronts=1, job_seconds=3 if signals == [signal.SIGSTOP] else 30) as scene:
        await scene.talk(talkers=2, guests=1)
        await scene.flow(10)
        worker = scene.stack.heavy[0]
        victim = await Client.connect(scene.urls[0], CHANNEL)

        # When its computation crashes, time and again, or hangs
        await victim.send(**sample("image", id=str(uuid.uuid4()), image_data=laborious))
        seen: set[int] = set()
        for number in signals:
            await until(lambda: _computing(worker) - seen, "the computation to begin")
            (child,) = _computing(worker) - seen
            seen.add(child)
            os.kill(child, number)

        # Then it is buried, though the worker lives on
        assert await victim.refusal() == told
        assert not scene.keeper.ends[worker.name]
        assert reason in _dead(scene, "list")

        # And an operator throws it away
        assert "is deleted" in _dead(scene, "delete", "all")
        assert _dead(scene, "list") == "0 dead letters\n"
        await victim.leave()
        await scene.flow(10)
        await scene.settle()


def _computing(worker: Process) -> set[int]:
    """The worker's children that have the picture in their hands: decoded, it is 187 MB."""
    return {child.pid for child in psutil.Process(worker.pid).children() if child.memory_info().rss > 100 * 2**20}


def _dead(scene: Scene, *arguments: str) -> str:
    """What `python -m worker dead …` says."""
    process = run_to_end("worker", "dead", *arguments, directory=scene.stack.directory, **scene.stack.settings)
    assert process.exit_status == 0
    said = process.whole_log()
    process.log.unlink()
    return said
