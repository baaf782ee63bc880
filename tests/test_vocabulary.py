"""The code calls things what the field calls them: old names of our own do not come back."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Names that stood in the code once, and what the field calls it
OLD = {
    "turnstile": "job queue, dispatcher",
    "doorkeeper": "admin authentication",
    "gathering": "throttle",
    "head ?count": "user count",
    "tally": "counters",
    "workbook": "shared charges",
    "roll call": "survey",
    "swept": "reaped",
    "buried": "dead letter",
    "went_on": "rate limit abuse",
    "homeless": "unrouted",
    "the house": "server, instance",
}


OLD_NAME = re.compile(rf"\b(?:{'|'.join(OLD)})", re.IGNORECASE)


def test_an_old_name_does_not_come_back() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("gischat", "worker")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in (".py", ".lua")
        for name in OLD_NAME.findall(f"{path.stem} {path.read_text('utf-8')}")
    }
    assert not found, f"the field calls them otherwise: {OLD}"
