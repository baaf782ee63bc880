"""Workers are killed, frozen, replaced or missing: no message is lost or duplicated."""

import signal

from tests.faults.conftest import MakeScene
from tests.faults.scene import until


async def test_the_only_worker_of_a_lane_is_killed_again_and_again(make_scene: MakeScene) -> None:
    # Given one worker per lane
    async with make_scene(heavy=1) as scene:
        await scene.talk(large_photos=0.3)
        (worker,) = scene.stack.heavy

        # When it is killed under traffic, twice, and restarted
        for _ in range(2):
            await scene.flow(20)
            worker.kill()
            await until(lambda: worker.running, "the worker to be started again")
        await scene.flow(20)

        # Then every message has been delivered once or refused
        balance = await scene.settle()
        assert balance.delivered >= 60
        assert scene.keeper.ends[worker.name] == [-signal.SIGKILL] * 2


async def test_jobs_of_dead_and_frozen_workers_are_claimed_and_published_once(make_scene: MakeScene) -> None:
    # Given three workers of the lane
    lane = "light"
    async with make_scene(light=3) as scene:
        await scene.talk()
        await scene.flow(20)
        dead, frozen, living = scene.stack.light

        # When one is killed for good, and one freezes, both while they hold jobs
        scene.keeper.leaves_alone.add(dead)
        await scene.freeze_with_job(dead, lane)
        dead.kill()
        await scene.freeze_with_job(frozen, lane)

        # Then the third one claims their jobs
        await until(lambda: scene.held_by(dead, lane) + scene.held_by(frozen, lane) == 0, "jobs to be taken over")
        await until(lambda: "took over" in living.new_log(), "the third to say so")

        # When the frozen one continues, its results are not published a second time
        frozen.wake()
        await scene.flow(20)
        balance = await scene.settle()
        assert balance.refused == 0


async def test_a_rolling_restart_of_workers_refuses_nothing(make_scene: MakeScene) -> None:
    # Given two workers per lane
    async with make_scene(light=2, heavy=2) as scene:
        await scene.talk(longest_burst=2, pause=0.05)
        await scene.flow(30)

        # When one after the other is stopped and restarted
        for worker in scene.stack.workers:
            worker.terminate()
            await until(lambda worker=worker: scene.keeper.ends[worker.name], "the worker to end")
            await scene.flow(30)

        # Then each has exited with status 0, and no message was refused
        balance = await scene.settle()
        assert balance.refused == 0
        assert all(scene.keeper.ends[worker.name] == [0] for worker in scene.stack.workers)


async def test_without_workers_messages_wait_up_to_the_bound_and_then_are_refused(make_scene: MakeScene) -> None:
    # Given no light worker, and a small inbox
    async with make_scene(light=2, max_inbox_messages=5) as scene:
        await scene.talk(talkers=8, guests=0)
        await scene.flow(20)
        for worker in scene.stack.light:
            scene.keeper.leaves_alone.add(worker)
            worker.terminate()
        await until(lambda: not any(worker.running for worker in scene.stack.light), "the workers to end")

        # When more messages are sent than fit
        await until(lambda: any(talker.is_being_refused for talker in scene.talkers), "the first refusal")

        # Then the accepted ones are published in order when a worker starts
        scene.keeper.leaves_alone.clear()
        await scene.flow(50)
        balance = await scene.settle()
        assert balance.refused > 0
