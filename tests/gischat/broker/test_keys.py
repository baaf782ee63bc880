"""Keys: those of a channel are in one slot of a cluster, and no two channels share one."""

import re
from collections.abc import Sequence
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


def hash_tag(key: str) -> str:
    """The part of a key that decides on its slot: between the first `{` and the next `}`, unless that is empty.

    https://valkey.io/topics/cluster-spec/, "Hash tags".
    """
    found = re.search(r"\{([^}]+)\}", key)
    assert found is not None, f"{key} has no hash tag"
    # An empty pair of braces before it would make the whole key count.
    assert "{}" not in key[: found.end()]
    return found[1]


def test_all_keys_of_a_channel_share_one_hash_tag() -> None:
    for channel in NAMES:
        keys = all_keys("gischat", channel)
        assert len({hash_tag(key) for key in keys}) == 1, channel
        assert len({key_slot(key) for key in keys}) == 1, channel


def test_a_keys_slot_is_that_of_redis_py() -> None:
    for key in [*NAMES, "x{}y{z}", *all_keys("gischat", "Été {x}:y")]:
        assert key_slot(key) == redis.crc.key_slot(key.encode())


def test_the_channels_of_an_instance_spread_over_a_cluster() -> None:
    slots = {key_slot(ChannelKeys("gischat", f"channel {number}").outbox) for number in range(300)}
    assert len(slots) > 250


def test_two_channels_share_no_key() -> None:
    for one, other in combinations(NAMES, 2):
        assert not set(all_keys("gischat", one)) & set(all_keys("gischat", other)), (one, other)


@pytest.mark.parametrize(
    ("one", "other"), [(("a", "b.c"), ("a.b", "c")), (("a", "a"), ("a-a", "a")), (("a", "b:c"), ("a.b", "c"))]
)
def test_two_instances_share_no_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert not set(all_keys(*one)) & set(all_keys(*other))


def test_the_lanes_differ_only_in_their_inbox() -> None:
    keys = ChannelKeys("gischat", "QGIS")
    light, heavy = keys.for_script(Lane.LIGHT), keys.for_script(Lane.HEAVY)
    assert keys.for_script() == light
    assert keys.inbox(Lane.LIGHT) in light
    assert keys.inbox(Lane.HEAVY) in heavy
    differing = {key for pair in zip(light, heavy, strict=True) if len(set(pair)) == 2 for key in pair}
    assert {key.partition("}:")[2] for key in differing} == {
        "inbox:light", "inbox:light:bytes", "inbox:heavy", "inbox:heavy:bytes",
    }  # fmt: skip


def test_no_key_has_two_meanings() -> None:
    keys = ChannelKeys("gischat", "QGIS").for_moderation()
    assert len(set(keys)) == len(keys)


def test_moderation_has_the_keys_of_all_scripts_and_more() -> None:
    keys = ChannelKeys("gischat", "QGIS")
    assert keys.for_moderation()[: len(keys.for_script())] == keys.for_script()


def test_the_scripts_name_the_keys_in_their_order() -> None:
    """The prelude refers to keys by position only: a moved key would be mistaken for another."""
    prelude = resources.files("gischat.broker").joinpath("lua", "prelude.lua").read_text("utf-8")
    found = re.search(r"^local ([A-Z_, \n]+?)\s*=\s*unpack\(KEYS\)$", prelude, re.MULTILINE)
    assert found is not None
    keys = ChannelKeys("a", "b")
    assert names_in_scripts(keys.for_script()) == re.split(r",\s*", found[1])


@pytest.mark.parametrize("head", ["moderation", "presence"])
def test_the_scripts_name_their_own_keys_in_their_order(head: str) -> None:
    text = resources.files("gischat.broker").joinpath("lua", f"{head}.lua").read_text("utf-8")
    found = re.search(r"^local ([A-Z_, ]+) = unpack\(KEYS, FIRST_OWN\)$", text, re.MULTILINE)
    assert found is not None
    keys = ChannelKeys("a", "b")
    handed = {"moderation": keys.for_moderation(), "presence": keys.for_presence()}[head]
    assert names_in_scripts(handed[len(keys.for_script()) :]) == found[1].split(", ")


def names_in_scripts(keys: Sequence[str]) -> list[str]:
    names = [key.partition("}:")[2].replace("inbox:light", "inbox") for key in keys]
    return [name.upper().replace(":", "_") for name in names]
