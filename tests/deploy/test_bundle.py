"""The page's map is bundled at set-up if its sources have changed; without a registry the chat runs without it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, free_port

SOURCES = ("deno.json", "deno.lock", "deploy/page.py", "gischat/web")
BUILT = "gischat/web/built/map.js"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the bundle's sources, and of the current bundle."""
    for name in SOURCES:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def bundle(clone: Path) -> str:
    """Bundle without a registry; return the output."""
    nowhere = os.environ | {"NPM_CONFIG_REGISTRY": f"http://127.0.0.1:{free_port()}/"}
    command = (sys.executable, "deploy/page.py", "bundle")
    ran = subprocess.run(command, cwd=clone, env=nowhere, capture_output=True, text=True, timeout=300, check=True)
    return ran.stderr


def test_only_changed_sources_are_bundled_and_without_a_registry_an_older_bundle_stays(clone: Path) -> None:
    assert bundle(clone) == ""

    # When a source has changed, one line says that the older bundle stays
    source = clone / "gischat/web/map/map.js"
    source.write_text(source.read_text() + "\n")
    before = (clone / BUILT).read_bytes()
    said = bundle(clone)
    assert said.startswith("gischat: the map could not be bundled, so an older one stays: ")
    assert said.count("\n") == 1
    assert (clone / BUILT).read_bytes() == before

    # … or that there is none
    shutil.rmtree((clone / BUILT).parent)
    assert "so the chat runs without it: " in bundle(clone)
    assert not (clone / BUILT).exists()
