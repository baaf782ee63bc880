"""A power failure, and the restart after it."""

from tests.faults.conftest import MakeScene
from tests.faults.scene import until
from tests.support.redis_servers import Server


async def test_everything_is_killed_at_once_and_starts_again(make_scene: MakeScene, server: Server) -> None:
    async with make_scene(redis_url=server.url, client=server.client, heavy=1) as scene:
        await scene.talk(large_photos=0.2)
        await scene.flow(30)

        # When all processes are killed at once
        scene.keeper.leaves_alone.update(scene.stack.processes)
        for process in (*scene.stack.processes, server):
            process.kill()
        server.start()
        scene.keeper.leaves_alone.clear()
        await scene.healthy()

        # Then clients reconnect, and their earlier messages are published
        await scene.flow(30)

        # And there are no ghosts
        await scene.settle()


async def test_accepted_messages_are_published_although_their_senders_have_gone(
    make_scene: MakeScene, server: Server
) -> None:
    # Given accepted messages, and no worker for them
    async with make_scene(redis_url=server.url, client=server.client, fronts=1) as scene:
        await scene.talk(talkers=8, guests=2)
        await scene.flow(20)
        scene.keeper.leaves_alone.update(scene.stack.processes)
        for worker in scene.stack.workers:
            worker.kill()
        await until(lambda: server.client.xlen(scene.inbox("light")) >= 4, "messages to wait")
        taken = set(scene.ids_waiting("light"))

        # When everything is killed, and only workers start again
        for process in (*scene.stack.fronts, server):
            process.kill()
        server.start()
        scene.keeper.leaves_alone.difference_update(scene.stack.workers)

        # Then they are published
        await until(lambda: taken <= scene.ids_published(), "what was taken to come out")

        # And the dead fronts are reaped
        await until(lambda: not server.client.hlen(scene.keys.users), "nicknames to be free")
        scene.keeper.leaves_alone.clear()
        await scene.flow(20)
        await scene.settle()
