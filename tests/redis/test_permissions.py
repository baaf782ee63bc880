"""The ACL example allows exactly what gischat does: compared with the sources, and with a Redis that enforces it."""

import ast
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tornado.ioloop import IOLoop

from gischat.broker.commands import CLUSTER_ONLY, COMMANDS, acl_name
from gischat.broker.discovery import connect
from gischat.broker.inbox_consumer import InboxConsumer
from gischat.broker.keys import GROUP, ChannelKeys
from gischat.broker.namespace import Namespace
from gischat.broker.presence import Presence
from gischat.broker.scripts import CHUNK_BYTES
from gischat.protocol.messages import Lane
from gischat.timings import Timings
from tests.faults.scene import until
from tests.support.admin import TOKEN, Admin, below
from tests.support.client import Client
from tests.support.contract import BROADCAST, sample
from tests.support.layers import large_layer
from tests.support.permissions import EXAMPLE, GuardedValkey
from tests.support.pictures import as_base64, png_of_exactly
from tests.support.processes import ROOT, Process, Stack, run_to_end
from tests.support.rest import Rest, eventually
from tests.support.settings import settings
from tests.support.syntax import parsed

CHANNEL = "QGIS"
NAMES = {acl_name(command) for command in COMMANDS}

# Commands that are not written as calls: running scripts, opening connections.
OF_THE_CONNECTION = {"eval", "evalsha", "client|setname", "select", *map(acl_name, CLUSTER_ONLY)}

# Commands of this test itself, as an administrator
OF_THE_TEST = {
    *("acl|log", "auth", "client|kill", "client|setinfo", "config|get", "flushall", "hello", "info", "keys"),
    "script|flush",
}


def in_scripts() -> Iterator[str]:
    for path in (ROOT / "gischat/broker/lua").glob("*.lua"):
        for call in re.findall(r"redis\.p?call\((.*)", path.read_text("utf-8")):
            words = re.match(r"'([A-Z]+)'(?:, '([A-Z]+)')?", call)
            yield " ".join(filter(None, words.groups()))  # type: ignore[union-attr]  # a name that is made up at run time


def in_calls() -> Iterator[str]:
    for path in (*(ROOT / "gischat").rglob("*.py"), *(ROOT / "worker").rglob("*.py")):
        for node in ast.walk(parsed(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "call":
                words = [word.value for word in node.args if isinstance(word, ast.Constant)]
                yield " ".join(map(str, words))


def test_the_table_of_commands_matches_the_sources_and_the_example_allows_only_these() -> None:
    asked = {acl_name(command) for command in (*in_scripts(), *filter(None, in_calls()))}
    assert asked | OF_THE_CONNECTION == NAMES
    (ours,) = re.findall(r"^user gischat .*$", EXAMPLE, re.MULTILINE)
    assert set(re.findall(r" \+(\S+)", ours)) == NAMES
    assert re.findall(r" [~&%]\S+", ours) == [" ~gischat:{gischat:*"]
    assert "-@all" in ours


@pytest.fixture
def instance() -> str:
    return f"test-{uuid.uuid4()}"


async def test_the_permissions_of_the_example_suffice(
    io_loop: IOLoop, tmp_path: Path, instance: str, start_stack: Callable[..., Stack]
) -> None:
    with GuardedValkey(tmp_path, instance) as valkey:
        stack = start_stack(
            redis_url=valkey.url,
            fronts=2,
            instance_id=instance,
            channels=CHANNEL,
            job_seconds=1,
            max_outbox_messages=30,
            admin_token=TOKEN,
        )
        url = stack.fronts[0].url
        jane = await Client.connect(url, CHANNEL)
        await jane.register("jane")
        john = await Client.connect(stack.fronts[1].url, CHANNEL)
        await john.register("john")

        # When clients use all features
        for type_ in BROADCAST:
            await jane.send(**sample(type_))
            await john.until(type=type_)
        for large in (
            sample("image", image_data=as_base64(png_of_exactly(2 * CHUNK_BYTES))),
            sample("geojson", geojson=large_layer()),
        ):
            await jane.send(**large, id=(id := str(uuid.uuid4())))
            await john.until(id=id)
        assert valkey.admin.keys("*:body:*")
        await john.send(**sample("like", liker_author="john", liked_author="jane"))
        await jane.until(type="like")
        await john.send(type="exiter", exiter="john")
        await jane.until(type="exiter", exiter="john")
        last = str(uuid.uuid4())
        await jane.send(**sample("text", id=last))
        await jane.until(id=last)
        comes_back = await Client.connect(url, CHANNEL, query=f"?after={last}")
        await comes_back.until(type="nb_users")
        rest = Rest(url)
        assert (await rest.put_text(CHANNEL, {"author": "bot", "text": "hello"})).code == 200
        assert await rest.users(CHANNEL) == ["jane"]
        assert len(await rest.last(CHANNEL)) == 5

        # And Redis loses its scripts, as it may at any time
        valkey.admin.script_flush()
        await jane.until(text=await jane.say())

        # And a moderator uses all features
        admin = Admin(url)
        await _moderate(admin, jane)

        # And a picture hangs, is dead-lettered, and retried
        buried = await _bury(stack.heavy[0], jane)
        place = _dead(stack, "list").split()[0]
        _dead(stack, "retry", place)
        await jane.until(id=buried)
        await _bury(stack.heavy[0], jane)
        _dead(stack, "delete", "all")

        # And a front is considered dead, and comes back
        keys = ChannelKeys(instance, CHANNEL)
        fronts = next(key for key in keys.for_script() if key.endswith(":fronts"))
        await john.register("jim")
        stack.fronts[1].freeze()
        front, _, _ = valkey.admin.hget(keys.users, "jim").partition(b"/")
        valkey.admin.zadd(fronts, {front: 1})
        await jane.until(type="exiter", exiter="jim")
        stack.fronts[1].wake()
        await jane.until(type="newcomer", newcomer="jim")

        # And a worker resumes its predecessor's unfinished jobs
        await _leave_pending(stack, valkey, keys, jane)

        # And idle consumers are deleted
        async with connect(valkey.url, name="test") as ours:
            namespace = Namespace(settings(instance_id=instance, channels=(CHANNEL,)))
            gone = InboxConsumer(namespace, Lane.LIGHT, [CHANNEL], "gone", redis=ours, reader=ours)
            await gone.read([CHANNEL], count=1)
            assert await gone.delete_idle_consumers(CHANNEL, 0)
            await Presence(namespace, "gone", ours).repair_nicknames(CHANNEL, Timings().lease, is_thorough=True)

        # And connections and data are lost
        valkey.admin.client_kill_filter(_type="normal", skipme=True)
        await jane.until(text=await jane.say())
        valkey.admin.flushall()
        await jane.until(text=await jane.say())
        await eventually(lambda: _banned(admin), ["pest"])
        admin.close()
        for client in (jane, john, comes_back):
            await client.leave()
        rest.close()
        await until(lambda: not valkey.admin.hkeys(keys.users), "everyone to be gone")
        stack.stop()

        # Then everything was allowed, and nothing is allowed that was not used
        assert valkey.refusals() == set()
        assert valkey.commands_of(but=OF_THE_TEST) == NAMES - set(map(acl_name, CLUSTER_ONLY))
        assert not any(map(_is_refused, stack.processes))


def _is_refused(process: Process) -> bool:
    """Whether it has logged a missing permission, in Redis' words."""
    return "no permissions" in process.whole_log().lower()


async def _moderate(admin: Admin, speaker: Client) -> None:
    """Use all features of moderation; leaves a ban."""
    said = [(await speaker.until(text=await speaker.say()))["id"] for _ in range(2)]
    await admin.act("POST", "bans", {"nickname": "pest"})
    await admin.act("POST", "bans", {"nickname": "friend"})
    await admin.act("DELETE", "bans/friend")
    await admin.act("PUT", below(CHANNEL, "freeze"))
    await admin.act("POST", below(CHANNEL, "announcements"), {"text": "Back at five."})
    await admin.act("DELETE", below(CHANNEL, "freeze"))
    assert (await admin.act("GET", "connections"))["missing"] == []
    await admin.act("DELETE", below(CHANNEL, f"messages/{said[1]}"))
    comes_back = await Client.connect(admin.base_url, CHANNEL, query=f"?after={said[0]}")
    await comes_back.register("troll")
    await admin.act("DELETE", "users/troll")
    await comes_back.closed()
    await speaker.until(type="exiter", exiter="troll")


async def _banned(admin: Admin) -> list[str]:
    return [ban["subject"] for ban in await admin.act("GET", "bans")]


async def _bury(worker: Process, sender: Client) -> str:
    """Send a picture whose processing hangs; return its id."""
    for child in psutil.Process(worker.pid).children():
        child.suspend()
    await sender.send(**sample("image", id=(id := str(uuid.uuid4()))))
    await sender.refusal()
    return id


async def _leave_pending(stack: Stack, valkey: GuardedValkey, keys: ChannelKeys, sender: Client) -> None:
    """Let a text be delivered to a stopped worker, and done by its successor of the same name."""
    (worker,) = stack.light
    await worker.stopped()
    await sender.send(**sample("text", id=(id := str(uuid.uuid4()))))
    inbox = keys.inbox(Lane.LIGHT)

    def is_delivered() -> Any:
        found = valkey.admin.xreadgroup(GROUP, worker.name, {inbox: ">"})
        return any(fields[b"id"] == id.encode() for _, entries in found for _, fields in entries)

    await until(is_delivered, "the text to be delivered")
    worker.start()
    await sender.until(id=id)


def _dead(stack: Stack, *arguments: str) -> str:
    process = run_to_end("gischat", "dead-letters", *arguments, directory=stack.directory, **stack.settings)
    assert process.exit_status == 0, process.whole_log()
    said = process.whole_log()
    process.log.unlink()
    return said


async def test_commands_that_are_not_allowed_are_refused(tmp_path: Path, instance: str) -> None:
    """Otherwise the test above would prove nothing."""
    with GuardedValkey(tmp_path, instance, without=("xgroup|create",)) as valkey:
        stack = Stack(tmp_path, valkey.url, instance_id=instance, channels=CHANNEL, fronts=0, heavy=0, waits=False)
        try:
            stack.start()
            await until(lambda: "command xgroup|create" in valkey.refusals(), "Redis to refuse")
            await until(lambda: _is_refused(stack.light[0]), "the worker to tell so")
        finally:
            stack.kill()
