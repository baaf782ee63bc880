"""An instance's namespace in Redis: the keys of its channels, and the scripts with its limits."""

from gischat.broker.keys import ChannelKeys
from gischat.broker.scripts import Scripts
from gischat.settings import Settings
from gischat.timings import Timings


class Namespace:
    """The settings, keys and scripts that all classes of this package share."""

    def __init__(self, settings: Settings, timings: Timings = Timings()) -> None:
        self.settings = settings
        self.timings = timings
        self.keys = {channel: ChannelKeys(settings.instance_id, channel) for channel in settings.channels}
        self.scripts = Scripts(settings, timings)
