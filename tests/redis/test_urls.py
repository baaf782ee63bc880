"""Messages are delivered with each kind of `REDIS_URL`, with real servers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tornado.ioloop import IOLoop

from tests.support import tls
from tests.support.certificates import Certificates
from tests.support.client import Client
from tests.support.contract import sample
from tests.support.processes import Stack, Valkey, run_to_end

CHANNELS = ("QGIS", "Field", "Geotribu", "Bots")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def socket_url(tmp_path: Path) -> Iterator[str]:
    """A server with a socket, whose path contains characters that need encoding."""
    path = tmp_path / "my valkey.sock"
    valkey = Valkey(tmp_path)
    valkey._command += ["--unixsocket", str(path), "--user", "jane", "on", ">pass/word", "~*", "+@all"]
    with valkey:
        yield f"unix://jane:pass%2Fword@{quote(str(path))}?db=2"


async def _talk(stack: Stack) -> None:
    for channel in CHANNELS:
        client = await Client.connect(stack.fronts[0].url, channel)
        await client.register("jane")
        for type_ in ("text", "image"):
            await client.send(**sample(type_))
            await client.until(type=type_)
        await client.leave()


def _start(start_stack: Callable[..., Stack], url: str) -> Stack:
    return start_stack(redis_url=url, light=0, heavy=0, both=1, channels=",".join(CHANNELS))


async def test_messages_are_delivered_over_a_socket(
    io_loop: IOLoop, socket_url: str, start_stack: Callable[..., Stack]
) -> None:
    await _talk(_start(start_stack, socket_url))


@pytest.mark.parametrize("servers", [tls.one_server, tls.sentinel, tls.cluster], ids=lambda servers: servers.__name__)
async def test_messages_are_delivered_over_tls_with_certificates_on_both_sides(
    io_loop: IOLoop, tmp_path: Path, certificates: Certificates, start_stack: Callable[..., Stack], servers: Callable
) -> None:
    with servers(tmp_path, certificates) as url:
        stack = _start(start_stack, url)
        await _talk(stack)

        # And `gischat check`, which connects in the same way, finds no fault
        checked = run_to_end("gischat", "check", directory=tmp_path, **{**stack.settings, "fronts": 0})
        assert checked.exit_status == 0, checked.whole_log()
        stack.stop()
