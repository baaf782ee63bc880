"""`gischat ctl`: supervisorctl for the processes of `gischat up`; `gischat scale` and `gischat roll` use it too."""

from collections.abc import Sequence

from supervisor import supervisorctl

from gischat.supervision import files
from gischat.supervision.instance import Instance, read_instance
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> int:
    return control(read_instance(), arguments)


def control(instance: Instance, arguments: Sequence[str]) -> int:
    """Run a command of supervisorctl and return its exit status."""
    instance.export()
    try:
        supervisorctl.main(["-c", str(files.path("supervisord.conf")), *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0
