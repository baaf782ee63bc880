"""Which process is which: a later one on the same machine sees that it is gone."""

import subprocess
import sys
from unittest.mock import Mock

import pytest

from gischat.identity import identity, is_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

TELL = "from gischat.identity import identity; print(identity(), flush=True); input()"


def test_a_process_that_runs_is_not_gone() -> None:
    assert not is_gone(identity())


@pytest.mark.processes
def test_a_process_is_gone_when_it_has_ended_even_before_anybody_asked_for_its_status() -> None:
    with subprocess.Popen([sys.executable, "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        its_identity = other.stdout.readline().decode().strip()
        assert not is_gone(its_identity)
        other.kill()
        while not is_gone(its_identity):  # it becomes a zombie
            pass
    assert is_gone(its_identity)


def test_another_process_that_has_got_its_number_is_not_it() -> None:
    machine, number, began = identity().split(" ")
    assert is_gone(f"{machine} {number} {int(began) - 1}")


@pytest.mark.parametrize("other", ["", "nonsense", "elsewhere/pid:[1] 1 1", "a b c d", "a b c"])
def test_what_cannot_be_known_from_here_is_not_gone(other: str) -> None:
    assert not is_gone(other)


def test_a_process_that_is_hidden_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hardened service sees no others in /proc (ProtectProc=invisible), and may not read all that it sees."""
    mine = identity()
    for hidden in (FileNotFoundError, PermissionError, ProcessLookupError):
        monkeypatch.setattr("gischat.identity._began", Mock(side_effect=hidden))
        assert not is_gone(mine)
