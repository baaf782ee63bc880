"""Incoming hooks, with the real `curl`."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import Join
from tests.support.contract import CANARY, words
from tests.support.pictures import png_of_exactly
from tests.support.processes import Stack
from tests.support.rest import Rest, eventually

OPEN, PRIVATE = "QGIS", "Été: à la mer"
KEYS = {name: f"{CANARY}-{name}-0123456789" for name in ("grafana", "github", "field", "busy", "late")}

Post = Callable[..., Awaitable["Answer"]]


class Answer(NamedTuple):
    status: int
    body: Any
    retry_after: str


@pytest.fixture(scope="module")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    hooks = [f"{PRIVATE if name == 'field' else OPEN}:{key}:{name}" for name, key in KEYS.items()]
    with open_stack(
        channels=f"{OPEN},{PRIVATE}",
        channel_tokens=f"{PRIVATE}:{CANARY}-token",
        hooks=",".join(hooks),
        require_registration=True,
        admin_token=f"{CANARY}-moderator-0123",
        max_hook_messages_per_minute=0,
        max_stored_messages=0,
        log_level="debug",
    ) as stack:
        yield stack
    for process in stack.processes:
        assert (CANARY in process.whole_log(), "Traceback" in process.whole_log()) == (False, False)


@pytest.fixture
def post(stack: Stack) -> Post:
    async def post(key: str, *arguments: str, path: str = "/hooks/") -> Answer:
        """POST with these arguments of curl."""
        command = ["curl", "--silent", "--write-out", "\n%{http_code} %header{retry-after}", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stack.fronts[0].url + path + key, stdout=PIPE)
        body, _, status = (await process.communicate())[0].rpartition(b"\n")
        code, _, retry_after = status.decode().partition(" ")
        return Answer(int(code), json.loads(body) if body else None, retry_after)

    return post


def as_json(content: Any) -> tuple[str, ...]:
    return "--header", "Content-Type: application/json", "--data", json.dumps(content)


async def test_posted_texts_are_published_with_the_hooks_name(post: Post, join: Join) -> None:
    client, said = await join(OPEN), words()

    # With a content type as Slack's clients, and without one
    for arguments in (as_json({"text": said}), ("--data", json.dumps({"text": said}))):
        answer = await post(KEYS["grafana"], *arguments)
        assert (answer.status, answer.body["ok"]) == (200, True)
        message = await client.until(type="text")
        assert (message["author"], message["text"], [message["id"]]) == ("grafana", said, answer.body["ids"])

    # In a form, which Slack allows; after a double slash, as of an address with a slash at its end
    form = ("--data-urlencode", f"payload={json.dumps({'text': said})}")
    assert (await post(KEYS["grafana"], *form, path="//hooks/")).status == 200
    assert (await client.until(type="text"))["text"] == said

    # A long text is split in order
    long = " ".join(words() for _ in range(20))
    answer = await post(KEYS["grafana"], *as_json({"text": long}))
    parts = [await client.until(type="text") for _ in range(4)]
    assert [part["id"] for part in parts] == answer.body["ids"]
    assert long.startswith(" ".join(part["text"].removesuffix("…") for part in parts))


async def test_a_repeated_delivery_of_github_is_published_once(post: Post, join: Join) -> None:
    client = await join(OPEN)
    event = ("--header", "X-GitHub-Event: ping", "--header", f"X-GitHub-Delivery: {words()}")
    first = await post(KEYS["github"], *event, *as_json({"zen": words()}))
    message = await client.until(type="text", author="github")
    again = await post(KEYS["github"], *event, *as_json({"zen": message["text"].partition("on. ")[2]}))
    assert (again.status, again.body) == (200, first.body)
    last = words()
    assert (await post(KEYS["grafana"], *as_json({"text": last}))).status == 200
    await client.nothing_before(last)


async def test_pictures_and_layers_are_published_in_a_private_channel(post: Post, join: Join, tmp_path: Path) -> None:
    client = await join(PRIVATE, query=f"?token={CANARY}-token")
    (tmp_path / "photo.png").write_bytes(png_of_exactly(6_000_000))
    points = [{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [7, 46]}}]
    (tmp_path / "trees.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": points}))
    said = words()
    files = ("--form", f"a=@{tmp_path}/photo.png", "--form", f"b=@{tmp_path}/trees.geojson")
    answer = await post(KEYS["field"], "--form", f"text={said}", *files)
    assert answer.status in (200, 202)  # a picture may take longer than the answer
    published = [await client.until(author="field") for _ in range(3)]
    assert [one["type"] for one in published] == ["text", "image", "geojson"]
    layer = published[-1]
    assert (layer["layer_name"], layer["crs_authid"]) == ("trees", "EPSG:4326")


async def test_invalid_posts_are_refused_with_reasons(post: Post, join: Join, tmp_path: Path) -> None:
    client = await join(OPEN)
    (tmp_path / "none.png").write_text("no picture")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(50_000_000)
    key = KEYS["grafana"]
    # Without `Expect: 100-continue` a body, of known or unknown length, is read to its end
    at_once = ("--header", "Expect:", "--data-binary", f"@{tmp_path}/huge")
    for status, used, *given in (
        (404, CANARY, *as_json({"text": "x"})),
        (405, key),
        (413, key, "--form", f"a=@{tmp_path}/huge;filename=huge.png"),
        (413, key, *at_once),
        (413, key, *at_once, "--header", "Transfer-Encoding: chunked"),
        (422, key, *as_json({})),
        (422, key, *as_json({"text": " \u2800"})),
        (422, key, "--form", f"a=@{tmp_path}/none.png"),
        (422, key, "--form", f"a=@{tmp_path}/none.png;filename=none.geojson"),
    ):
        answer = await post(used, *given)
        assert (answer.status, list(answer.body)) == (status, ["detail"]), answer
    last = words()
    assert (await post(KEYS["grafana"], *as_json({"text": last}))).status == 200
    await client.nothing_before(last)


async def test_a_hook_can_be_banned_and_its_channel_frozen(post: Post, rest: Rest) -> None:
    moderator = {"Authorization": f"Bearer {CANARY}-moderator-0123"}
    ban = json.dumps({"nickname": "late", "seconds": 300})
    assert (await rest.fetch("/admin/bans", "POST", ban, **moderator)).code == 201
    assert (await rest.fetch(f"/admin/channels/{OPEN}/freeze", "PUT", b"", **moderator)).code == 200

    async def status(name: str) -> int:
        return (await post(KEYS[name], *as_json({"text": "x"}))).status

    await eventually(lambda: status("late"), 403)
    await eventually(lambda: status("busy"), 403)
    assert "banned" in (await post(KEYS["late"], *as_json({"text": "x"}))).body["detail"]
    assert (await rest.fetch("/admin/bans/late", "DELETE", **moderator)).code == 200
    assert (await rest.fetch(f"/admin/channels/{OPEN}/freeze", "DELETE", **moderator)).code == 200
    await eventually(lambda: status("busy"), 200)


async def test_a_post_that_takes_too_long_is_answered_202(stack: Stack, post: Post, join: Join, tmp_path: Path) -> None:
    client, said = await join(OPEN), words()
    (tmp_path / "photo.png").write_bytes(png_of_exactly(10_000))
    stack.heavy[0].freeze()
    try:
        picture = await post(KEYS["late"], "--form", f"a=@{tmp_path}/photo.png")
        # A later post is published after it
        text = await post(KEYS["late"], *as_json({"text": said}))
        for answer in (picture, text):
            assert (answer.status, answer.body["ok"]) == (202, True)
    finally:
        stack.heavy[0].wake()
    assert [(await client.until(author="late"))["id"] for _ in "12"] == picture.body["ids"] + text.body["ids"]
