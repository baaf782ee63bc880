"""`gischat exec COMMAND ...`: runs a command with the settings of `gischat up`, its embedded Redis included."""

import os
from collections.abc import Sequence

from gischat.commands import CommandError
from gischat.supervision.instance import read_instance
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> int:
    instance = read_instance()
    if not arguments:
        raise CommandError("exec needs a command", 2)
    instance.export()
    try:
        os.execvp(arguments[0], list(arguments))
    except OSError as error:
        raise CommandError(f"{arguments[0]}: {error.strerror}") from error
