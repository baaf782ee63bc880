"""The code calls things what the field calls them: old names of our own do not come back."""

import re
from pathlib import Path

import pytest

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

# Words that somebody who knows the field searches for
FIELD = (
    "rate limit",
    "throttle",
    "token bucket",
    "in flight",
    "replay",
    "evict",
    "shutdown",
    "slow client",
    "fan-out",
    "backlog",
    "lease",
    "reap",
    "dead letter",
    "duplicate",
    "offset",
    "watermark",
    "survey",
    "trusted prox",
    "keepalive",
    "memory budget",
)


def sources() -> dict[Path, str]:
    found = [
        path
        for folder in ("gischat", "worker")
        for kind in ("py", "lua")
        for path in (ROOT / folder).rglob(f"*.{kind}")
    ]
    return {path: path.read_text("utf-8") for path in found}


@pytest.mark.parametrize("old", OLD)
def test_an_old_name_does_not_come_back(old: str) -> None:
    pattern = re.compile(rf"\b{old}", re.IGNORECASE)
    places = [str(path.relative_to(ROOT)) for path, text in sources().items() if pattern.search(f"{path.stem} {text}")]
    assert not places, f"say {OLD[old]}"


def test_the_words_of_the_field_are_found() -> None:
    text = re.sub(r"[\s_-]+", " ", " ".join(f"{path.stem} {text}" for path, text in sources().items())).lower()
    assert [word for word in FIELD if word.replace("-", " ") not in text] == []
