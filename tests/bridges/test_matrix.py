"""The Matrix bridge, between clients and a real Synapse."""

from collections.abc import Callable, Iterator

import pytest

from tests.bridges.conftest import Bridged
from tests.support.contract import words


@pytest.fixture(scope="module")
def bridged(open_bridged: Callable[..., Iterator[Bridged]]) -> Iterator[Bridged]:
    with open_bridged() as bridged:
        yield bridged


async def test_texts_go_both_ways(bridged: Bridged) -> None:
    async with bridged.joined("jane") as (jane,):
        text = await jane.say()
        await bridged.alice.until(body=f"jane: {text}")
        answer = words()
        await bridged.alice.say(answer)
        heard = await jane.until(type="text", text=answer)
        assert heard["author"] == bridged.alice.nickname
