"""Whoever started us hears when we are ready."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gischat.observability import systemd
from tests.support.waiting import DEADLINE


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(DEADLINE)
        yield listener


def test_systemd_hears_it_in_its_own_words(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    listener.bind("notify")
    monkeypatch.setenv("NOTIFY_SOCKET", "notify")

    systemd.ready()

    assert listener.recv(100) == f"READY=1\nMAINPID={os.getpid()}".encode()


def test_a_socket_without_a_file_is_found(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gischat-test-{os.getpid()}"
    listener.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

    systemd.ready()

    assert listener.recv(100).startswith(b"READY=1\n")


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_if_nobody_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.ready()
