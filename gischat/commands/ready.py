"""`gischat ready`: container health check of this machine's front; prints nothing if the front works."""

from collections.abc import Sequence

from gischat.commands import CommandError
from gischat.settings import load
from gischat.supervision.health import lacking
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> int:
    settings = load()
    if settings.fronts and (lack := lacking(settings.host, settings.port)):
        raise CommandError(lack)
    return 0
