"""Keys: those of a channel are in one slot of a cluster, and no two channels share one."""

import re
from importlib import resources
from itertools import combinations

import pytest
import redis.crc

from gischat.broker.keys import ChannelKeys, key_slot
from gischat.protocol.messages import Lane

NAMES = [
    "QGIS", "qgis", "Field and mobile", "Été à la mer", "R+D", "100%", "nord/sud", "🗺", "a:b", "a{b}", "{a}b", "{}",
    "}{", "{", "}", "a}b", "{{a}}", ":", "%", "%3A", "%25", "%253A", "%7B%7D", "a%", "a%b", " a", "a ", "\t", "'", '"',
    "outbox", "QGIS:outbox", "QGIS}:outbox", "*", "?", "[a]", "\\", "e\u0301", "\u00e9", "x" * 1000,
]  # fmt: skip


def all_keys(instance: str, channel: str) -> list[str]:
    keys = ChannelKeys(instance, channel)
    lanes = [key for lane in Lane for key in keys.for_script(lane)]
    named = [keys.outbox, keys.users, keys.dead, *map(keys.inbox, Lane), keys.survey("call", "front-1")]
    return [*lanes, *keys.for_moderation(), *named]


def test_all_keys_of_a_channel_are_in_one_slot_and_channels_in_many() -> None:
    for channel in NAMES:
        slots = {redis.crc.key_slot(key.encode()) for key in all_keys("gischat", channel)}
        assert len(slots) == 1, channel
        assert {key_slot(key) for key in all_keys("gischat", channel)} == slots
    for key in (*NAMES, "x{}y{z}"):
        assert key_slot(key) == redis.crc.key_slot(key.encode())
    assert len({key_slot(ChannelKeys("gischat", f"channel {number}").outbox) for number in range(300)}) > 250


def test_two_channels_share_no_key() -> None:
    for one, other in combinations(NAMES, 2):
        assert not set(all_keys("gischat", one)) & set(all_keys("gischat", other)), (one, other)


@pytest.mark.parametrize(
    ("one", "other"), [(("a", "b.c"), ("a.b", "c")), (("a", "a"), ("a-a", "a")), (("a", "b:c"), ("a.b", "c"))]
)
def test_two_instances_share_no_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert not set(all_keys(*one)) & set(all_keys(*other))


@pytest.mark.parametrize("head", ["prelude", "moderation", "presence"])
def test_the_scripts_name_the_keys_in_their_order(head: str) -> None:
    """They refer to keys by position only: a moved key would be mistaken for another."""
    text = resources.files("gischat.broker").joinpath("lua", f"{head}.lua").read_text("utf-8")
    found = re.search(r"^local ([A-Z_, \n]+?)\s*=\s*unpack\(KEYS(?:, FIRST_OWN)?\)$", text, re.MULTILINE)
    assert found is not None
    keys = ChannelKeys("a", "b")
    all_get = keys.for_script()
    handed = {"prelude": all_get, "moderation": keys.for_moderation(), "presence": keys.for_presence()}[head]
    own = handed if head == "prelude" else handed[len(all_get) :]
    names = [key.partition("}:")[2].replace("inbox:light", "inbox") for key in own]
    assert [name.upper().replace(":", "_") for name in names] == re.split(r",\s*", found[1])
    # And no key has two meanings
    assert len(set(handed)) == len(handed)
