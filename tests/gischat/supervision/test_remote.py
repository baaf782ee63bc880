"""Whose word a command takes for the settings of what runs."""

import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest

from gischat.commands import CommandError
from gischat.supervision import instance, remote
from gischat.supervision.instance import read_file


class Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/", "/RPC2")
    disable_nagle_algorithm = False  # there is none on a unix socket

    def log_request(self, *_: object) -> None:
        """Says nothing."""


class Supervisord(socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    """Says that it runs, and with which settings."""

    def __init__(self, path: Path, told: dict[str, str]) -> None:
        SimpleXMLRPCDispatcher.__init__(self)
        socketserver.UnixStreamServer.__init__(self, str(path), Handler)
        self.register_function(lambda: {"statename": "RUNNING"}, "supervisor.getState")
        self.register_function(lambda: told, "gischat.environment")


@contextmanager
def answering(path: Path, **told: str) -> Iterator[None]:
    with Supervisord(path, told) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def run_dir(directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sockets are of an instance whose own directory is too deep for them."""
    shared = tmp_path_factory.mktemp("s")
    for module in (instance, remote):
        monkeypatch.setattr(module, "SHARED", shared)
    monkeypatch.setattr(instance, "MAX_RUN_DIR_LENGTH", 0)
    made = instance.run_dir(directory / ".state")
    made.mkdir()
    return made


def test_settings_of_what_runs_are_adopted_and_nothing_else(run_dir: Path) -> None:
    with answering(run_dir / "supervisor.sock", RULES="Be brief.", LD_PRELOAD="/tmp/library.so"):
        remote.adopt_environment()

    assert os.environ["RULES"] == "Be brief."
    assert "LD_PRELOAD" not in os.environ


def test_nobody_else_is_believed_who_has_made_the_directory_first(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a directory of another user
    owner = run_dir.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    path = instance.run_dir(Path(".state").absolute())
    run_dir.rename(path)

    # When he says where the admin's token is to be sent
    with answering(path / "supervisor.sock", ADMIN_URL="http://198.51.100.1"):
        remote.adopt_environment()

    # Then it is not sent there, and nothing else is asked of him
    assert "ADMIN_URL" not in os.environ
    with pytest.raises(CommandError, match="belongs to another user"):
        remote.supervisord(path / "supervisor.sock")


def test_a_file_that_cannot_be_read_is_named(directory: Path) -> None:
    (directory / ".env").write_bytes(b"RULES=\xff")

    with pytest.raises(CommandError, match=r"\.env: it is not in UTF-8"):
        read_file()
