"""When an append-only file is looked at before the embedded server starts, and what becomes of it."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from gischat.supervision import exec_child, valkey

GOOD = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"


@pytest.fixture
def increment(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of commands, the last of them damaged."""
    monkeypatch.setattr(exec_child, "main", lambda command: None)
    os.environ |= {"RUN_DIR": str(directory), "STATE_DIR": str(directory)}
    data = directory / valkey.DIRECTORY
    data.mkdir()
    (data / valkey.MANIFEST).write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    increment = data / "appendonly.aof.1.incr.aof"
    increment.write_bytes(GOOD + GOOD.replace(b"*", b"X"))
    return increment


def test_a_server_that_was_told_to_end_is_started_again_without_a_word(
    directory: Path, increment: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Given one that was started a moment ago, and has ended in order: its socket is gone
    valkey.main([])

    valkey.main([])

    assert "".join(capfd.readouterr()) == ""
    assert increment.read_bytes() != GOOD


def test_one_that_failed_is_repaired(directory: Path, increment: Path) -> None:
    valkey.main([])
    (directory / "valkey.sock").touch()

    valkey.main([])

    assert increment.read_bytes() == GOOD


def test_nothing_is_cut_and_nothing_left_where_there_is_no_room_for_a_copy(
    directory: Path, increment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_: Path, copy: Path) -> None:
        copy.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fill)
    before = increment.read_bytes()

    [told] = valkey.repair(directory)

    assert "No space left" in told
    assert increment.read_bytes() == before
    assert not list(directory.glob("*.damaged-*"))
