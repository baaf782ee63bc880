"""Whoever started us hears when we are ready."""

import os
import socket
from pathlib import Path

import pytest

from gischat.observability import systemd
from tests.support.waiting import DEADLINE


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_hears_it_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    name = f"gischat-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(DEADLINE)
        listener.bind(f"\0{name}" if is_abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else name)

        systemd.ready()

        assert listener.recv(100) == f"READY=1\nMAINPID={os.getpid()}".encode()


@pytest.mark.parametrize("address", ["", "/nowhere/notify"])
def test_if_nobody_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.ready()
