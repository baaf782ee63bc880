"""python -m deploy run | check | status | ready | ctl ... | exec COMMAND ... | nginx NAME ...

run       everything, in the foreground
check     will it run here, and if not, what to mend: gischat check with this instance's settings
status    is it well, and what runs; exits non-zero when it is not well
ready     does the front on this machine's port work; says nothing when it does (for container health checks)
ctl       supervisorctl for this instance (deploy/ctl is the short way to it)
exec      COMMAND in the environment of this instance's processes: its settings, its Redis
nginx     prints an nginx site for this instance; `nginx --help` tells more
"""

import os
import sys

from deploy.instance import ROOT, Instance, Refused, read_instance

# Each command loads what it alone needs: a container's health is asked every ten seconds.


def main(arguments: list[str]) -> int:
    commands = {
        "run": run,
        "check": check,
        "status": status,
        "ready": ready,
        "ctl": ctl,
        "exec": execute,
        "nginx": nginx,
    }
    if not arguments or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](read_instance(), arguments[1:])
    except Refused as refusal:
        print(f"gischat: {refusal}", file=sys.stderr)
        return 1


def run(instance: Instance, _: list[str]) -> int:
    from deploy.launch import launch

    launch(instance)


def check(instance: Instance, arguments: list[str]) -> int:
    embedded = ["--embedded", str(instance.state_dir)] if instance.embeds_redis else []
    return execute(instance, [sys.executable, "-m", "gischat", "check", *embedded, *arguments])


def status(instance: Instance, _: list[str]) -> int:
    from deploy.health import tell

    well = tell(instance.control_socket)
    return ctl(instance, ["status"]) or int(not well)


def ready(instance: Instance, _: list[str]) -> int:
    from deploy.health import lacking

    settings = instance.settings
    if settings.fronts and (lack := lacking(settings.host, settings.port)):
        raise Refused(lack)
    return 0


def ctl(instance: Instance, arguments: list[str]) -> int:
    from supervisor import supervisorctl

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


def nginx(instance: Instance, arguments: list[str]) -> int:
    from deploy.nginx_site import site

    print(site(instance.settings, arguments), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
