"""Guessing the token of a private channel."""

import asyncio
import json
import secrets

from tests.conftest import StackFactory
from tests.support.client import Client
from tests.support.contract import words
from tests.support.rest import Rest, channel_path

GUESSERS, GUESSES = 5, 12
TOKEN = secrets.token_hex(16)


async def test_guessing_a_token_affects_nobody_else_and_logs_no_token(start_stack: StackFactory) -> None:
    # Given a member of a private channel, and an ordinary user of another channel
    stack = start_stack(heavy=0, channels="QGIS,Field", channel_tokens=f"Field:{TOKEN}")
    front = stack.fronts[0]
    member = await Client.connect(front.url, "Field", query=f"?token={TOKEN}")
    user = await Client.connect(front.url, "QGIS")
    rest = Rest(front.url)
    guessed: list[str] = []

    async def guess(number: int) -> None:
        for _ in range(GUESSES):
            # Some are close: the right token with another end, doubled, in capitals, or next to the right parameter
            near = (secrets.token_hex(16), TOKEN[:-1] + "x", f"{TOKEN},{TOKEN}", f"{TOKEN}%00", TOKEN + TOKEN)
            wrong = near[number % len(near)]
            guessed.append(wrong)
            intruder = await Client.connect(front.url, "Field", query=f"?token={wrong}")
            assert (await intruder.closed())[0] == 1008
            assert [message["type"] for message in intruder.received] == ["uncompliant"]
            await intruder.leave()
            for end in ("last", "users"):
                answer = await rest.fetch(channel_path("Field", end), Authorization=f"Bearer {wrong}")
                assert answer.code == 401
            body = json.dumps({"author": "evil", "text": words()})
            assert (await rest.fetch(channel_path("Field", "text") + f"?token={wrong}", "PUT", body)).code == 401

    # When many clients guess at once
    attack = asyncio.gather(*(guess(number) for number in range(GUESSERS)))
    said = []
    while not attack.done():
        said.append(await user.say())
        await member.say(said[-1])
        await user.until(text=said[-1])
        await member.until(text=said[-1])
    await attack

    # Then messages were published all the time, and only members had access to the channel
    assert len(said) > GUESSES
    assert member.texts() == user.texts() == said
    await member.count(1)
    # … the log contains the attempts in few lines, and no token
    log = front.whole_log()
    lines = front.records(message="a wrong token")
    assert 1 <= len(lines) < len(guessed) / 2
    assert TOKEN not in log
    assert [token for token in guessed if token in log] == []
    rest.close()
    await asyncio.gather(member.leave(), user.leave())
