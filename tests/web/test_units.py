"""The page's pure functions: `*_test.js` beside this file, run by Deno."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.processes
def test_the_functions_of_the_page() -> None:
    command = (sys.executable, "deploy/page.py", "deno", "test", "--quiet", "--no-check", "tests/web")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
