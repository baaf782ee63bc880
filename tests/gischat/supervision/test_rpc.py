"""A roll takes up what has changed in .env, but for what concerns the whole run."""

import os
from pathlib import Path

import pytest
from supervisor.xmlrpc import RPCError

from gischat.supervision.instance import complete_environment
from gischat.supervision.rpc import RemoteCalls


def _of_a_run(file: Path, content: str) -> RemoteCalls:
    file.write_text(content)
    complete_environment()
    return RemoteCalls(None)


def test_a_file_that_is_gone_changes_nothing(directory: Path) -> None:
    os.environ["ENV_FILE"] = "own.env"
    calls = _of_a_run(directory / "own.env", "RULES=Be brief.\nCHANNEL_TOKENS=QGIS:secret\n")

    # When the file is gone at the next roll
    (directory / "own.env").unlink()
    with pytest.raises(RPCError, match="no such file"):
        calls.reload()

    # Then nothing falls back to its default, private channels least of all
    assert os.environ["CHANNEL_TOKENS"] == "QGIS:secret"
    assert os.environ["RULES"] == "Be brief."


def test_what_concerns_the_whole_run_is_not_taken_up_though_it_is_new(directory: Path) -> None:
    calls = _of_a_run(directory / ".env", "REDIS_HOST=localhost\n")

    (directory / ".env").write_text("REDIS_HOST=localhost\nREDIS_URL=redis://elsewhere\nRULES=Be brief.\n")

    # Then it is named, at each roll, and no process that starts from now on gets it
    for _ in range(2):
        assert calls.reload() == ["REDIS_URL"]
    assert "REDIS_URL" not in os.environ
    assert os.environ["RULES"] == "Be brief."


def test_what_has_not_changed_is_not_named(directory: Path) -> None:
    # Given settings that the launcher completes for the processes
    calls = _of_a_run(directory / ".env", "STATE_DIR=data\nLOG_FORMAT=auto\nREDIS_URL=\n")
    os.environ |= {"STATE_DIR": str(directory / "data"), "LOG_FORMAT": "json", "REDIS_URL": "unix:///valkey.sock"}

    assert calls.reload() == []
