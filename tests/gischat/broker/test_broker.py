"""A third kind of participant besides fronts and workers: a bridge needs only the broker."""

import pytest

from gischat.broker.broker import Broker
from gischat.broker.discovery import connect
from gischat.broker.entries import Job, Source
from gischat.broker.namespace import Namespace
from gischat.broker.outbox import OutboxReader
from gischat.protocol.messages import Lane, new_id
from tests.gischat.broker.wire import ALIVE, CHANNEL, Wire, encoded
from tests.support.processes import Valkey
from worker.effects import Publish

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_a_bridge_enqueues_and_reads_what_is_published(wire: Wire, valkey: Valkey) -> None:
    async with connect(valkey.url, name="bridge") as redis, connect(valkey.url, name="bridge-reader") as reading:
        bridge = Broker.of(Namespace(wire.settings), "bridge-1", redis)
        await bridge.presence.renew_lease(CHANNEL, ALIVE)
        # When it enqueues a message from elsewhere, and a worker publishes it
        job = Job(Source("bridge-1", 1, 1), "text", new_id(), encoded("text"))
        assert (await bridge.inbox.enqueue(CHANNEL, Lane.LIGHT, job, last_offset=0)).is_enqueued
        await wire.worker.inbox.create_groups()
        (delivery,) = await wire.worker.inbox.read([CHANNEL], count=1)
        assert await wire.worker.committer.commit(delivery, Publish(job.body))
        # Then the bridge reads it like every front, and it is in the history
        ((channel, entries),) = await OutboxReader(wire.settings, [CHANNEL], reading).read({CHANNEL: b"0-0"})
        assert channel == CHANNEL
        assert [(one.publication.source, one.publication.body) for one in entries] == [(job.source, job.body)]
        assert (await bridge.history.snapshot(CHANNEL)).history == [job.body]
