"""An instance's namespace in Redis: the keys of its channels, and the scripts with its limits."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gischat.broker.client import Redis
from gischat.broker.keys import ChannelKeys
from gischat.broker.scripts import Script, Scripts
from gischat.broker.transport import Argument
from gischat.redis_url import Kind, parse
from gischat.settings import Settings
from gischat.timings import Timings

BATCH = 16  # channels of one call of a script: silent ones take Redis half a millisecond


class Namespace:
    """The settings, keys and scripts that all classes of this package share."""

    def __init__(self, settings: Settings, timings: Timings = Timings()) -> None:
        self.settings = settings
        self.timings = timings
        self.keys = {channel: ChannelKeys(settings.instance_id, channel) for channel in settings.channels}
        self.scripts = Scripts(settings, timings)
        self._batch = 1 if parse(settings.redis_url).kind is Kind.CLUSTER else BATCH  # channels differ in their slots

    async def run_batched(
        self,
        redis: Redis,
        script: Script,
        channels: Iterable[str],
        keys: Callable[[ChannelKeys], Iterable[str]],
        arguments: Sequence[Argument],
    ) -> dict[str, Any]:
        """Run a script that takes many channels; returns its results by channel.

        Args:
            keys: those of a channel, for the script.
        """
        channels = list(channels)
        batches = [channels[first : first + self._batch] for first in range(0, len(channels), self._batch)]
        pending = [
            redis.run(script, [key for channel in batch for key in keys(self.keys[channel])], arguments)
            for batch in batches
        ]
        return dict(zip(channels, itertools.chain.from_iterable(await asyncio.gather(*pending)), strict=True))
