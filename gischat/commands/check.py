"""`gischat check`: checks the settings, the machine and Redis, and says what is wrong and how to fix it."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path

from gischat.diagnostics import machine
from gischat.diagnostics.address import check_address
from gischat.diagnostics.findings import Finding, Level, ok, warning
from gischat.diagnostics.redis import check_redis
from gischat.settings import WRONG_SETTINGS, Settings, SettingsError, load
from gischat.supervision.instance import embedded_directory
from gischat.supervision.spelling import unknown_settings
from gischat.timings import Timings

INDENT = max(len(level) for level in Level) + 2


def main(arguments: Sequence[str], timings: Timings) -> int:
    parser = argparse.ArgumentParser(
        prog="gischat check",
        description="Checks whether gischat will run here with the settings of this environment, and what to fix. "
        "Changes nothing. Exit status: 0 well (there may be warnings), 1 something is wrong, 78 wrong settings.",
    )
    parser.add_argument("--json", action="store_true", help="findings as JSON, for programs")
    parser.add_argument("--up", action="store_true", help="check what `gischat up` would run here, its Redis included")
    parser.add_argument("--url", help="also check the public address, through the proxy")
    given = parser.parse_args(arguments)
    try:
        embedded = embedded_directory(is_meant=given.up)
        settings = load()
    except SettingsError as error:
        _tell_wrong_settings(error, as_json=given.json)
        return WRONG_SETTINGS
    findings = _findings(settings, timings, embedded, given.url)
    return asyncio.run(_check(findings, as_json=given.json))


async def _check(asked: AsyncIterator[Finding], *, as_json: bool) -> int:
    findings = []
    async for finding in asked:
        findings.append(finding)
        if not as_json:
            _tell(finding)
    number = {level: sum(finding.level is level for finding in findings) for level in Level}
    is_well = not number[Level.ERROR]
    if as_json:
        print(json.dumps({"well": is_well, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print(f"gischat: {number[Level.ERROR]} wrong, {number[Level.WARNING]} warnings")
    return int(not is_well)


async def _findings(
    settings: Settings, timings: Timings, embedded: Path | None, url: str | None
) -> AsyncIterator[Finding]:
    for complaint in unknown_settings():
        yield warning("settings", complaint, "correct the name, or remove it")
    for finding in (
        *machine.check_settings(settings),
        *machine.check_port(settings, timings),
        *machine.check_descriptors(settings),
        *machine.check_memory(settings),
        *machine.check_kernel(),
        *(check_address(url, timings) if url else ()),
    ):
        yield finding
    if embedded is not None:
        for finding in machine.check_embedded(settings, embedded):
            yield finding
        if not machine.runs_embedded(settings):
            yield ok("redis", "is the embedded server, which `gischat up` starts")
            return
    async for finding in check_redis(settings, timings):
        yield finding


def _tell(finding: Finding) -> None:
    print(f"{finding.level:{INDENT}}{finding.subject}: {finding.message}")
    if finding.remedy:
        print(f"{'':{INDENT}}fix: {finding.remedy}", flush=True)


def _tell_wrong_settings(error: SettingsError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"well": False, "wrong_settings": error.wrong}, indent=2))
    else:
        print(f"gischat: wrong settings\n{error}", file=sys.stderr)
