"""The subcommands of `gischat`, a module each; `gischat.__main__.COMMANDS` lists them.

A module has `main(arguments, timings)`, which takes the command's own arguments and returns the exit status:

    0    done; or told to stop, and stopped
    1    not possible, or unhealthy; the reason has been printed
    2    wrong arguments (argparse)
    78   wrong settings (EX_CONFIG of sysexits.h)
"""


class CommandError(Exception):
    """A command cannot do what it was asked for; `str()` tells the operator why."""

    def __init__(self, reason: str, status: int = 1) -> None:
        super().__init__(reason)
        self.status = status  # of the process
