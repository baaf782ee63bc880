"""Logs: one line an event, and nothing of what people say. (Every other test checks the latter too: see conftest.)"""

import re

from tests.support.contract import BROADCAST, CANARY, sample
from tests.support.processes import Stack
from tests.support.rest import Rest
from tests.wire.conftest import Join

LINE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\S* (DEBUG|INFO|WARNING|ERROR) .+")


async def test_nothing_that_people_say_is_logged(stack: Stack, channel: str, join: Join, rest: Rest) -> None:
    jane = await join(channel, nickname="jane")

    # When one sends something of every type, right and wrong, and a bot does
    for type_ in BROADCAST:
        await jane.send(**sample(type_))
        await jane.send(**sample(type_, author=CANARY * 9))
        await jane.send(**sample(type_, unknown=CANARY))
    await jane.send(**sample("like", liked_author="jane"))
    await jane.send_raw(CANARY)
    await rest.put_text(channel, sample("text"))
    await rest.put_text(channel, CANARY)
    await jane.until(text=await jane.say())

    # Then no process has written it, or anything that spans lines
    stack.assert_quiet_logs()
    assert stack.fronts[0].new_log()
    for process in stack.processes:
        strange = [line for line in process.new_log().splitlines() if not LINE.fullmatch(line)]
        assert not strange, process.name
