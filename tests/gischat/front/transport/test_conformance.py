"""Autobahn's cases against our reader: the test suite of RFC 6455 that browsers and servers use.

All of them but sections 12 and 13, on compression, which we do not offer; there is no section 8 or 11. Section 9, on
size and speed, takes half a minute: of its 54 cases `make test` runs the one that our bounds concern most, small
fragments, `make test-long` all. `kosoku` runs them.
"""

import asyncio
import json
from typing import Any

import pytest
from kosoku import FailureError, run_fuzzingclient

from tests.support.echo import echo_server

DEADLINE = 300.0  # seconds; some cases wait for seconds themselves
SECTIONS = [f"{section}.*" for section in (1, 2, 3, 4, 5, 6, 7, 10)]
SIZES = ["9.*"]
FRAGMENTS = ["9.3.1"]  # a text of 4 MiB in fragments of 64 bytes

# NON-STRICT: a text that is not UTF-8 is refused when it is complete, not at its first invalid byte
ACCEPTABLE = {"OK", "NON-STRICT", "INFORMATIONAL"}


async def results(url: str, cases: list[str]) -> list[Any]:
    try:
        async with asyncio.timeout(DEADLINE):
            return await run_fuzzingclient(url, cases, concurrency=4)
    except FailureError as failure:
        return list(failure.results)


@pytest.mark.parametrize("part", ["protocol", "sizes"])
async def test_our_reader_passes_autobahn(request: pytest.FixtureRequest, part: str) -> None:
    is_long = bool(request.config.getoption("--long"))
    cases, number = (SECTIONS, 247) if part == "protocol" else (SIZES, 54) if is_long else (FRAGMENTS, 1)
    with echo_server() as url:
        found = await results(url, cases)
    assert len(found) == number
    verdicts = {one.case_id: (one.behavior.value, one.behavior_close.value) for one in found}
    report = request.config.rootpath / f".cache/reports/autobahn-{part}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(verdicts, indent=1), "utf-8")
    assert {case: verdict for case, verdict in verdicts.items() if not ACCEPTABLE.issuperset(verdict)} == {}
