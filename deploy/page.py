"""Deno for the page's code: bundles the map, lints, formats and tests.

    python deploy/page.py bundle           bundles gischat/web/map/ with its packages into gischat/web/built/, if a
                                           source has changed. If it fails, one line says why; the chat runs
                                           without a map.
    python deploy/page.py deno lint ...    runs Deno itself

Deno is installed from PyPI and fetches the packages in deno.lock; neither Node nor npm is needed. If npm is installed,
its registry is used; NPM_CONFIG_REGISTRY overrides it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

DENO = "deno>=2.9,<3"
ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "gischat/web"
BUILT = WEB / "built"
STAMP = BUILT / "sources.sha256"
ENTRIES = (WEB / "map/map.js", WEB / "map/thumbnail.js", WEB / "map/qr.js")
SECONDS = 300


class NotBundled(Exception):
    """Bundling failed; `str()` says why in one line."""


def bundle() -> None:
    """Bring gischat/web/built/ up to date.

    Raises:
        NotBundled: bundling failed; an existing bundle is kept.
    """
    state = _state_of_sources()
    if STAMP.is_file() and STAMP.read_text("utf-8") == state:
        STAMP.touch()  # make compares modification times
        return
    with tempfile.TemporaryDirectory(dir=WEB, prefix=".built-") as directory:
        fresh = Path(directory, "built")
        options = ("--quiet", "--frozen", "--minify", "--platform=browser", "--code-splitting", f"--outdir={fresh}")
        _run(_deno(), "bundle", *options, *ENTRIES)
        (fresh / "LICENSES.txt").write_text("\n\n".join(_licenses()), "utf-8")
        (fresh / STAMP.name).write_text(state, "utf-8")
        shutil.rmtree(BUILT, ignore_errors=True)
        fresh.rename(BUILT)


def environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Deno's environment: the registry, the machine's own certificates, and a cache inside the clone."""
    env = {"DENO_TLS_CA_STORE": "system,mozilla", "DENO_DIR": str(ROOT / ".cache/deno"), **base}
    env |= {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}
    npm = shutil.which("npm")
    if "NPM_CONFIG_REGISTRY" not in env and npm:
        question = (npm, "config", "get", "registry")
        asked = subprocess.run(question, cwd=ROOT, capture_output=True, text=True, check=False)
        if asked.stdout.startswith("http"):
            env["NPM_CONFIG_REGISTRY"] = asked.stdout.strip()
    return env


def _licenses() -> Iterator[str]:
    """The licenses of the bundled packages, which require that they be distributed with the bundle."""
    cache = Path(environment()["DENO_DIR"])
    for package in sorted(json.loads((ROOT / "deno.lock").read_text("utf-8"))["npm"]):
        name, version = re.findall(r"(@?[^@]+)@([^_]+)", package)[0]  # after a _ follow its peer dependencies
        for path in sorted(cache.glob(f"npm/*/{name}/{version}/LICEN[CS]E*")):
            yield f"{name} {version}\n\n{path.read_text('utf-8', 'replace').strip()}\n"


def _sources() -> Iterator[Path]:
    yield from (ROOT / "deno.json", ROOT / "deno.lock", Path(__file__))
    yield from sorted(WEB.glob("*.js"))  # the map imports some of these, too
    yield from sorted((WEB / "map").rglob("*.js"))


def _state_of_sources() -> str:
    """A digest of all sources."""
    digest = hashlib.sha256()
    for path in _sources():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _deno() -> str:
    """The path of deno: this environment's, or the machine's; installs it into a virtual environment if missing."""
    beside = Path(sysconfig.get_path("scripts"))
    found = shutil.which("deno", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found:
        return found
    if sys.prefix == sys.base_prefix:
        raise NotBundled("there is no deno (pip install deno)")
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", DENO)
    return str(beside / "deno")


def _run(*command: str | Path) -> None:
    try:
        ran = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBundled(str(error)) from error
    if ran.returncode != 0:
        said = " ".join(ran.stderr.partition("error: ")[2].partition("Stack backtrace")[0].split())
        raise NotBundled(said[:500] or "no reason given")


def main(arguments: list[str]) -> int:
    match arguments:
        case ["bundle"]:
            try:
                bundle()
            except NotBundled as failure:
                stays = "an older one stays" if STAMP.is_file() else "the chat runs without it"
                print(f"gischat: the map could not be bundled, so {stays}: {failure}", file=sys.stderr)
            return 0
        case ["deno", *rest]:
            return subprocess.run([_deno(), *rest], cwd=ROOT, env=environment(), check=False).returncode
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
