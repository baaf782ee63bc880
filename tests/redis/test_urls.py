"""Messages are delivered with each kind of `REDIS_URL`, with real servers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def unix_socket(directory: Path, _: Certificates) -> Iterator[str]:
    """A server with a socket, whose path contains characters that need encoding."""
    path = directory / "my valkey.sock"
    valkey = Valkey(directory)
    valkey._command += ["--unixsocket", str(path), "--user", "jane", "on", ">pass/word", "~*", "+@all"]
    with valkey:
        yield f"unix://jane:pass%2Fword@{quote(str(path))}?db=2"


@pytest.mark.parametrize(
    "servers", [unix_socket, tls.one_server, tls.sentinel, tls.cluster], ids=lambda servers: servers.__name__
)
async def test_messages_are_delivered_over_a_socket_or_tls_with_certificates_on_both_sides(
    io_loop: IOLoop, tmp_path: Path, start_stack: Callable[..., Stack], servers: Callable
) -> None:
    with servers(tmp_path, Certificates(tmp_path)) as url:
        stack = start_stack(redis_url=url, light=0, heavy=0, both=1, channels=",".join(CHANNELS))
        for channel in CHANNELS:
            client = await Client.connect(stack.fronts[0].url, channel)
            await client.register("jane")
            for type_ in ("text", "image"):
                await client.send(**sample(type_))
                await client.until(type=type_)
            await client.leave()

        # And `gischat check`, which connects in the same way, finds no fault
        checked = run_to_end("gischat", "check", directory=tmp_path, **{**stack.settings, "fronts": 0})
        assert checked.exit_status == 0, checked.whole_log()
        stack.stop()
