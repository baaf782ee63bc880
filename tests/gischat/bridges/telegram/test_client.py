"""What a Bot API may answer, and that the token is in nothing that an operator reads."""

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.web import RequestHandler

from gischat.bridges.errors import Delayed, Rejected, TooLarge, Trouble
from gischat.bridges.telegram.client import Migrated, TelegramClient, multipart
from gischat.bridges.wording import File
from gischat.timings import Timings
from tests.bridges.bot_api import MAX_DOWNLOAD, TOKEN, BotApi, refusing
from tests.support.processes import free_port

Answer = Callable[[RequestHandler], None]


@pytest.fixture
def api() -> Iterator[BotApi]:
    api = BotApi()
    api.group(-1)
    api.start()
    yield api
    api.close()


def client(api: BotApi, *, answer_seconds: float = 20.0, token: str = TOKEN) -> TelegramClient:
    timings = Timings(bridge_answer=answer_seconds, bridge_file=answer_seconds)
    return TelegramClient(api.url, token, timings, max_file_bytes=30_000_000)


def saying(content: Any, status: int = 200, **headers: str) -> Answer:
    def answer(handler: RequestHandler) -> None:
        handler.set_status(status)
        for name, value in headers.items():
            handler.set_header(name, value)
        handler.write(content)

    return answer


@pytest.mark.parametrize(
    ("answer", "trouble", "after"),
    [
        (refusing(429, "Too Many Requests: retry after 7", retry_after=7), Trouble.RATE_LIMITED, 7),
        (refusing(429, "Too Many Requests", retry_after=10**30), Trouble.RATE_LIMITED, 600),  # not for ever
        (refusing(401, f"Unauthorized {TOKEN}"), Trouble.UNAUTHORIZED, None),
        (refusing(404, "Not Found"), Trouble.UNAUTHORIZED, None),
        (refusing(409, "Conflict: can't use getUpdates method while webhook is active"), Trouble.CONFLICT, None),
        (refusing(403, "Forbidden: bot was kicked from the group chat"), Trouble.NO_ROOM, None),
        (refusing(400, "Bad Request: chat not found"), Trouble.NO_ROOM, None),
        (refusing(400, "Bad Request: message thread not found"), Trouble.NO_ROOM, None),
        (refusing(400, "Bad Request: moved", migrate_to_chat_id=-2), Trouble.NO_ROOM, None),
        (refusing(502, f"https://api/bot{TOKEN}/sendMessage"), Trouble.SERVER_ERROR, None),
        (saying({"ok": False, "error_code": 429, "parameters": 3}), Trouble.RATE_LIMITED, 0),
        (saying("", 302, Location="http://127.0.0.1:1/"), Trouble.SERVER_ERROR, None),
        (saying("no JSON"), Trouble.SERVER_ERROR, None),
        (saying("[" * 10_000), Trouble.SERVER_ERROR, None),
        (lambda handler: handler.request.connection.stream.close(), Trouble.UNREACHABLE, None),  # type: ignore[union-attr]
    ],
)
async def test_what_may_pass_is_tried_again(api: BotApi, answer: Answer, trouble: Trouble, after: float | None) -> None:
    api.faults["sendMessage"] = [answer]
    with pytest.raises(Delayed) as caught:
        await client(api).send("sendMessage", {"chat_id": -1, "text": "x"})
    assert (caught.value.trouble, caught.value.after) == (trouble, after)
    assert_silent(caught.value)


def assert_silent(error: BaseException) -> None:
    whole = "".join(traceback.format_exception(error))
    assert TOKEN not in whole
    assert TOKEN.partition(":")[2] not in whole


async def test_a_migration_says_where_to(api: BotApi) -> None:
    api.groups[-1].moved_to = -2
    with pytest.raises(Migrated) as caught:
        await client(api).send("sendMessage", {"chat_id": -1, "text": "x"})
    assert caught.value.chat == -2


async def test_a_refusal_of_one_message_is_no_trouble_of_the_group(api: BotApi) -> None:
    api.faults["sendPhoto"] = [refusing(400, "Bad Request: not enough rights to send photos to the chat")]
    with pytest.raises(Rejected, match="not enough rights"):
        await client(api).send("sendPhoto", {"chat_id": -1}, "photo", File(b"x", "image/png", "x.png"))


async def test_an_api_that_is_not_there_or_silent_is_not_waited_for_without_end(api: BotApi) -> None:
    api.faults["getMe"] = [lambda handler: setattr(handler, "_finished", True)]  # and so nothing is sent
    api_elsewhere = BotApi.__new__(BotApi)
    api_elsewhere.url = f"http://127.0.0.1:{free_port()}"
    for one in (client(api, answer_seconds=0.1), client(api_elsewhere)):
        with pytest.raises(Delayed) as caught:
            await one.invoke("getMe", {})
        assert caught.value.trouble is Trouble.UNREACHABLE
        assert_silent(caught.value)


async def test_files_are_fetched_up_to_what_bots_may_have(api: BotApi) -> None:
    small, large = api.upload(b"small"), api.upload(b"x" * (MAX_DOWNLOAD + 1))
    assert await client(api).download(small["file_id"]) == b"small"
    with pytest.raises(TooLarge):
        await client(api).download(large["file_id"])
    # An API that lies about the size
    api.faults["getFile"] = [saying({"ok": True, "result": {"file_path": f"documents/{large['file_id']}"}})]
    with pytest.raises(TooLarge):
        await client(api).download(large["file_id"])


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "documents/../../botX/getMe", 7])
async def test_what_is_no_path_of_a_file_is_not_asked_for(api: BotApi, path: Any) -> None:
    api.faults["getFile"] = [saying({"ok": True, "result": {"file_path": path}})]
    with pytest.raises(Rejected, match="no path"):
        await client(api).download("file")


def test_a_name_ends_no_quotation_and_no_header() -> None:
    body, type = multipart({"chat_id": -1}, "document", File(b"data", "text/x-python", 'a"\r\nX: 1\r\n.py'))
    assert type.startswith("multipart/form-data; boundary=")
    assert b"\r\nX: 1" not in body
    assert body.count(b'"') == 6
