"""Poisoned messages: jobs that kill workers get three tries; dead letters; the commands."""

import os
import signal
import uuid

import psutil

from tests.faults.conftest import MakeScene
from tests.faults.scene import CHANNEL, Scene, until
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.pictures import as_base64
from tests.support.processes import Process, run_to_end
from tests.worker.pictures import jpeg_of_many_scans


async def test_a_picture_that_kills_is_dead_lettered_and_affects_nothing_else(make_scene: MakeScene) -> None:
    # A picture that takes a worker more than a second, most of it with much memory: see `_computing`
    laborious = as_base64(jpeg_of_many_scans(6000, 6000, 28))
    async with make_scene(fronts=1, heavy=1) as scene:
        await scene.talk(talkers=2, guests=1)
        await scene.flow(10)
        worker = scene.stack.heavy[0]
        victim = await Client.connect(scene.urls[0], CHANNEL)
        id = str(uuid.uuid4())

        # When a picture kills three workers
        await victim.send(**sample("image", id=id, image_data=laborious))
        for _ in range(3):
            await until(lambda: _computing(worker), "a worker to take the picture")
            worker.kill()
            await until(lambda: worker.running, "the worker to be started again")

        # Then its sender is told, and an operator can see the reason
        assert await victim.refusal() == "This message could not be processed by the server. It was not sent."
        listed = _dead(scene, "list")
        assert listed.endswith("1 dead letters\n")
        assert "image" in listed
        assert "3 workers did not end it." in listed
        place = listed.split()[0]
        assert f'"id":"{id}"' in _dead(scene, "show", place)

        # When it is retried, and crashes the sandbox three times, then it is dead-lettered, although the worker lives
        ends = [*scene.keeper.ends[worker.name]]
        assert "is on its way again" in _dead(scene, "retry", place)
        seen: set[int] = set()
        for _ in range(3):
            await until(lambda: _computing(worker) - seen, "the computation to begin")
            (child,) = _computing(worker) - seen
            seen.add(child)
            os.kill(child, signal.SIGKILL)
        await until(lambda: scene.redis.xlen(scene.keys.dead) == 1, "it to be dead-lettered")
        assert scene.keeper.ends[worker.name] == ends
        listed = _dead(scene, "list")
        assert "3 times Crashed" in listed

        # When it is retried, and nothing kills it, it is published
        _dead(scene, "retry", listed.split()[0])
        await victim.until(id=id)
        assert _dead(scene, "list") == "0 dead letters\n"
        await victim.leave()
        await scene.flow(10)
        await scene.settle()


async def test_a_picture_that_takes_too_long_is_dead_lettered_at_once(make_scene: MakeScene) -> None:
    """A retry would take as long, and delay all others meanwhile."""
    async with make_scene(fronts=1, heavy=1, job_seconds=0.2) as scene:
        victim = await Client.connect(scene.urls[0], CHANNEL)
        await victim.send(**sample("image", image_data=as_base64(jpeg_of_many_scans(6000, 6000, 28))))
        assert await victim.refusal() == (
            "This message takes too long to process. Please send something smaller or simpler. It was not sent."
        )
        assert not scene.keeper.ends[scene.stack.heavy[0].name]
        assert "It took " in _dead(scene, "list")
        assert "is deleted" in _dead(scene, "delete", "all")
        assert _dead(scene, "list") == "0 dead letters\n"
        await victim.leave()


def _computing(worker: Process) -> set[int]:
    """The worker's children that process the picture: decoded, it takes 108 MB."""
    return {child.pid for child in psutil.Process(worker.pid).children() if child.memory_info().rss > 100 * 2**20}


def _dead(scene: Scene, *arguments: str) -> str:
    """The output of `gischat dead-letters …`."""
    process = run_to_end("gischat", "dead-letters", *arguments, directory=scene.stack.directory, **scene.stack.settings)
    assert process.exit_status == 0
    said = process.whole_log()
    process.log.unlink()
    return said
