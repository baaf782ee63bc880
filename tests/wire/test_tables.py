"""The tables: a message type is one row, a lane is one row and a program; everything else derives from them."""

import configparser
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gischat.protocol.types import LANES
from gischat.supervision.rpc import SETTINGS
from tests.conftest import StackFactory
from tests.support import contract
from tests.support.client import Client
from tests.support.description import Description
from tests.support.processes import ROOT, Stack
from tests.support.rest import Rest

LANE = (
    """
    HEAVY = "heavy", True
""",
    """
    HEAVY = "heavy", True
    SIDE = "side"
""",
)
TYPE = (
    """
    for row in (
""",
    """
    for row in (
        MessageType(
            "note",
            "A note; broadcast and stored.",
            lambda of: of.signed | {"note": of.text(20)},
            lane=Lane.SIDE,
        ),
        MessageType("wave", "Broadcast.", lambda of: {"waver": of.nickname}, stored=False, passes_freeze=True),
""",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, with an additional row in each table."""
    tree = tmp_path_factory.mktemp("tree")
    for package in ("gischat", "worker"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    table = tree / "gischat/protocol/types.py"
    source = table.read_text("utf-8")
    for there, longer in (LANE, TYPE):
        assert source.count(there) == 1
        source = source.replace(there, longer)
    table.write_text(source, "utf-8")
    return tree


@pytest.fixture(scope="module")
def stack(open_stack: StackFactory, tree: Path) -> Iterator[Stack]:
    with open_stack(heavy=0, lanes=["side"], tree=tree, channels="QGIS") as stack:
        yield stack


async def test_a_row_in_a_table_is_all_that_a_type_or_lane_needs(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contract.KEYS, "note", {"author", "avatar", "note"})
    monkeypatch.setitem(contract.KEYS, "wave", {"waver"})
    url = stack.fronts[0].url
    jane, john, rest = await Client.connect(url, "QGIS"), await Client.connect(url, "QGIS"), Rest(url)

    await jane.send(type="note", author="jane", note="x" * 21)
    await jane.until(type="uncompliant", reason="This note has 21 characters; at most 20 can be sent here.")
    await jane.send(type="wave", waver="jane")
    assert (await john.until(type="wave"))["waver"] == "jane"
    await jane.send(type="note", author="jane", note="well 7 is dry")
    note = await john.until(type="note")
    assert note["note"] == "well 7 is dry"

    assert await rest.last("QGIS") == [note]
    description = Description(await rest.get("/openapi.json"))
    assert description.faults("ClientMessage", {"type": "note", "author": "jane", "note": "x" * 21})
    for name in ("ServerMessage", "StoredMessage"):
        assert description.faults(name, note) == []
    await jane.leave()
    await john.leave()
    rest.close()


def test_supervisord_runs_workers_of_every_lane() -> None:
    conf = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    conf.read(ROOT / "supervisord.conf", "utf-8")
    programs = {name.partition(":")[2] for name in conf.sections() if name.startswith("program:")}
    assert programs - {"valkey", "front", "bridge"} == set(LANES) == SETTINGS.keys() - {"fronts", "bridges"}
    for lane in LANES:
        block = conf[f"program:{lane}"]
        assert f"--lane {lane} --name %(ENV_NODE_NAME)s-{lane}-%(process_num)d" in block["command"]
        assert block["numprocs"] == f"%(ENV_{lane.setting})s"
