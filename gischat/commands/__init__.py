"""The subcommands of `gischat`, one module each; `gischat.__main__.COMMANDS` lists them.

Each module has a function `main(arguments, timings)`, which takes the command's own arguments and returns the exit
status:

    0    done, or stopped by a signal
    1    failed, or unhealthy; the reason has been printed
    2    wrong arguments (argparse)
    78   wrong settings (EX_CONFIG of sysexits.h)
"""


class CommandError(Exception):
    """A command failed; `str()` tells the operator why."""

    def __init__(self, reason: str, status: int = 1) -> None:
        super().__init__(reason)
        self.status = status  # of the process
