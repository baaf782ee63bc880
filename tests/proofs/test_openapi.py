"""schemathesis asks a real instance whatever `/openapi.json` describes, rightly and wrongly, as everybody and as a
moderator: every answer is described, what is described is accepted, what is not is refused, and nothing fails.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.admin import TOKEN
from tests.support.processes import ROOT, Stack

CONFIG = Path(__file__).with_name("schemathesis.toml")
MAX_SECONDS = 600
# Each part of each request, rightly and wrongly; what is drawn at random, or builds on other answers, takes long
QUICK = ["--phases", "examples,coverage", "--seed", "1"]


@pytest.fixture(scope="module")
def stack(open_stack: Callable[..., Stack]) -> Iterator[Stack]:
    """A moderated instance behind a proxy that it trusts: the test, which speaks for clients at many addresses."""
    options = {"channels": "QGIS,Été à la mer", "admin_token": TOKEN, "trusted_proxies": "127.0.0.1"}
    with open_stack(heavy=0, **options) as stack:
        yield stack
    stack.assert_quiet_logs()


def test_the_server_is_as_it_describes_itself(stack: Stack, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    seconds = int(request.config.getoption("--long"))
    extent = ["--max-time", str(seconds)] if seconds else QUICK
    report = request.config.rootpath / ".cache/reports/schemathesis.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    program = [Path(sys.executable).with_name("st"), "--config-file", CONFIG, "--no-color", "run"]
    ran = subprocess.run(
        [*program, f"{stack.fronts[0].url}/openapi.json", *extent, "--report-junit-path", report],
        cwd=tmp_path,  # where it remembers what it has found
        env={**os.environ, "PYTHONPATH": str(ROOT), "ADMIN_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=MAX_SECONDS + seconds,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
