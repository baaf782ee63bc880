"""Access to moderation: only with the token, and not at all without a configured one."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from tornado.ioloop import IOLoop

from gischat.front.auth.failed_attempts import MAX_FAILURES
from gischat.front.descriptions.admin_paths import ADMIN_PATHS
from gischat.timings import Timings
from tests.support.admin import TOKEN, Admin
from tests.support.processes import Stack, run_to_end
from tests.support.rest import Rest

OPERATIONS = [
    (method.upper(), path.removeprefix("/admin/").replace("{channel}", "QGIS"))
    for path, item in ADMIN_PATHS.items()
    for method in item
]


async def test_without_a_token_of_the_instances_there_is_nothing_there(open_stack, io_loop: IOLoop) -> None:  # type: ignore[no-untyped-def]
    # Given an instance without moderation
    with open_stack(light=1, heavy=0, channels="QGIS") as stack:
        rest, admins = Rest(stack.fronts[0].url), [Admin(stack.fronts[0].url, token) for token in (None, "", TOKEN)]
        unknown = await rest.fetch("/nowhere")
        # Then each path of moderation is not found, with any token
        for admin in admins:
            for method, path in [*OPERATIONS, ("OPTIONS", "bans"), ("GET", "")]:
                answer = await admin.ask(method, path)
                assert (answer.code, answer.body) == (unknown.code, unknown.body), (method, path)
                assert sorted(answer.headers) == sorted(unknown.headers)
        assert not [path for path in (await rest.get("/openapi.json"))["paths"] if "admin" in path]
        for one in (rest, *admins):
            one.close()


@pytest.fixture
def front(house: Stack) -> Iterator[Stack]:
    """A front that remembers guesses; it is restarted after the test."""
    yield house
    house.fronts[0].restart()
    house.wait_healthy(house.fronts[0])


async def test_requests_without_the_token_are_refused(front: Stack) -> None:
    wrong = [None, TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer é"]
    rest = Rest(front.fronts[0].url)
    headers = [{} if authorization is None else {"Authorization": authorization} for authorization in wrong]
    begun = time.monotonic()
    answers = await asyncio.gather(
        *(rest.fetch("/admin/announcements", "POST", '{"text": "hello"}', **one) for one in headers)
    )
    # Then all get 401, slowly, and nothing was done
    assert time.monotonic() - begun >= Timings().wrong_token
    for answer in answers:
        assert answer.code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Access-Control-Allow-Origin" not in answer.headers
    # … a token in the query is refused, too
    assert (await rest.fetch(f"/admin/bans?token={TOKEN}&access_token={TOKEN}")).code == 401
    log = front.fronts[0].new_log()
    assert log.count("a wrong admin token from 127.0.0.1") == len(wrong) + 1
    assert TOKEN not in log
    # … and the right one is accepted, with its scheme in any case
    assert (await rest.fetch("/admin/bans", Authorization=f"bearer {TOKEN}")).code == 200
    rest.close()


async def test_an_address_that_guesses_is_blocked_for_a_while(front: Stack) -> None:
    guessing = Admin(front.fronts[0].url, "wrong" * 5)
    answers = await asyncio.gather(*(guessing.ask("GET", "bans") for _ in range(MAX_FAILURES)))
    assert {answer.code for answer in answers} == {401}
    # Then not even the right token is accepted from there
    right = Admin(front.fronts[0].url)
    answer = await right.ask("GET", "bans")
    assert answer.code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 61
    # … and other addresses are not affected
    assert (await Rest(front.fronts[0].url).fetch("/version")).code == 200
    for one in (guessing, right):
        one.close()


def test_a_token_that_is_none_is_found_at_the_start(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for token in ("short", "with spaces in between it", "ümlaute-ümlaute-ümlaute"):
        process = run_to_end("gischat", directory=tmp_path, admin_token=token)
        assert process.exit_status == 78
        assert "ADMIN_TOKEN: Must have at least 16 letters" in process.whole_log()
        assert token not in process.whole_log()
