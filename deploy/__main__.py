"""python -m deploy run | check | status | ctl ... | exec COMMAND ...

run       everything, in the foreground
check     will it run here, and if not, what to mend: gischat check with this instance's settings
status    is it well, and what runs; exits non-zero when it is not well
ctl       supervisorctl for this instance (deploy/ctl is the short way to it)
exec      COMMAND in the environment of this instance's processes: its settings, its Redis
"""

import os
import sys

from supervisor import supervisorctl

from deploy.health import tell
from deploy.instance import ROOT, Instance, Refused, read_instance
from deploy.launch import launch


def main(arguments: list[str]) -> int:
    commands = {"run": run, "check": check, "status": status, "ctl": ctl, "exec": execute}
    if not arguments or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](read_instance(), arguments[1:])
    except Refused as refusal:
        print(f"gischat: {refusal}", file=sys.stderr)
        return 1


def run(instance: Instance, _: list[str]) -> int:
    launch(instance)


def check(instance: Instance, arguments: list[str]) -> int:
    embedded = ["--embedded", str(instance.state_dir)] if instance.embeds_redis else []
    return execute(instance, [sys.executable, "-m", "gischat", "check", *embedded, *arguments])


def status(instance: Instance, _: list[str]) -> int:
    well = tell(instance.control_socket)
    return ctl(instance, ["status"]) or int(not well)


def ctl(instance: Instance, arguments: list[str]) -> int:
    instance.export()
    try:
        supervisorctl.main(["-c", str(ROOT / "supervisord.conf"), *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def execute(instance: Instance, command: list[str]) -> int:
    if not command:
        raise Refused("exec needs a command")
    instance.export()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise Refused(f"{command[0]}: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
