"""`gischat ready`: container health check of this machine's front; prints nothing if the front works."""

from collections.abc import Sequence

from gischat.commands import CommandError
from gischat.supervision.health import lacking
from gischat.supervision.instance import read_settings
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> int:
    settings = read_settings()
    if settings.fronts and (lack := lacking(settings.host, settings.port)):
        raise CommandError(lack)
    return 0
