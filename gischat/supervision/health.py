"""Health of the chat as its users see it: `/readyz`. supervisord's RUNNING says only that a process exists."""

import http.client
import json
import sys
from collections import Counter
from pathlib import Path

from gischat.settings import LOOPBACK
from gischat.supervision.remote import supervisord

ANSWER_SECONDS = 5


def url(host: str, port: int) -> str:
    """The chat's URL for a browser on this machine."""
    shown = "localhost" if host in LOOPBACK else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"


def lacking(host: str, port: int) -> str | None:
    """Why the chat does not work; None if it does."""
    is_ready, reasons = _readiness(host, port)
    return None if is_ready else reasons


def _readiness(host: str, port: int) -> tuple[bool, str]:
    """Whether the chat works, and what does not; even a working chat may have reasons, for a part that fails."""
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return False, f"no front answers on port {port}"
    finally:
        connection.close()
    return answer.status == http.HTTPStatus.OK, _reasons(body)


def print_health(control_socket: Path) -> bool:
    """Print the running chat's address and health; returns whether it works.

    Raises:
        CommandError: supervisord does not run, or is stopping.
    """
    remote = supervisord(control_socket)
    host, port = remote.gischat.address()
    numbers = Counter(process["group"] for process in remote.supervisor.getAllProcessInfo())
    is_ready, reasons = _readiness(host, int(port)) if numbers["fronts"] else (True, "")
    if not numbers["fronts"]:
        print("gischat: no front here; ask one elsewhere whether the chat is well (/readyz)")
    else:
        found = ("well, but " if is_ready else "NOT WELL: ") + reasons if reasons else "well"
        print(f"gischat: {url(host, int(port))} — {found}")
    if not numbers["heavy"]:
        print("gischat: no heavy worker here: pictures and layers wait, unless another machine has one")
    sys.stdout.flush()  # before supervisorctl's own lines
    return is_ready


def _reasons(body: bytes) -> str:
    try:
        return ", ".join(json.loads(body)["reasons"])
    except (ValueError, KeyError, TypeError):
        return "a front answers, but is not ready"
