"""A stack with a bridge to a stand-in of the Bot API."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.bridges.bot_api import TOKEN, BotApi
from tests.bridges.processes import BridgedStack, bridge_of, wait_there
from tests.bridges.telegram_groups import Group
from tests.conftest import StackFactory
from tests.support.admin import TOKEN as ADMIN_TOKEN
from tests.support.contract import CANARY
from tests.support.processes import Process

GROUP, FORUM, TOPIC = -1001, -1002, 5
ALICE = "alice_b-telegram"

EXPECTED_REFUSALS = {
    "getFile: Bad Request: file is too big",
    "getFile: Bad Request: invalid file_id",
    "sendPhoto: Bad Request: PHOTO_INVALID_DIMENSIONS",
    "sendMessage: Forbidden: bot was kicked from the supergroup chat",
    "getChatMember: Bad Request: group chat was upgraded to a supergroup chat",
    "sendMessage: Bad Request: group chat was upgraded to a supergroup chat",
    "getUpdates: Conflict: terminated by other getUpdates request",
}


@dataclass
class BridgedGroups(BridgedStack):
    """A stack whose channels are bridged with a group, and with a topic of a forum."""

    api: BotApi
    group: Group
    forum: Group


@contextmanager
def open_groups(open_stack: StackFactory, known: list[Process]) -> Iterator[BridgedGroups]:
    """Run such a stack; `known` are the processes whose logs a failing test shows."""
    api = BotApi()
    group, forum = api.group(GROUP), api.group(FORUM, topics=(TOPIC,))
    api.start()
    stack = open_stack(
        telegram_bridges=f"QGIS={GROUP},Geotribu={FORUM}/{TOPIC}",
        telegram_api=api.url,
        telegram_token=TOKEN,
        telegram_notices="yes",
        admin_token=ADMIN_TOKEN,
    )
    bridge = bridge_of(stack)
    try:
        with stack:
            known.append(bridge)
            group.say("before the bridge was there")
            bridge.start()
            wait_there(bridge, "telegram")
            yield BridgedGroups(stack, bridge, api, group, forum)
            assert bridge.stop() == 0
            stack.assert_quiet_logs()
            assert {*api.refusals} <= EXPECTED_REFUSALS  # the bridge sends no invalid requests
            for secret in (TOKEN, TOKEN.partition(":")[2], CANARY, "Traceback"):
                assert secret not in bridge.whole_log()
    finally:
        bridge.kill()
        api.close()
