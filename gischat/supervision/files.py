"""Paths of the files that come with gischat: `supervisord.conf`, `.env.example`, and those in `deploy/`.

A clone has them at its root; an installed package has the same tree in `gischat/files/` (see `setup.py`).
"""

from pathlib import Path

import gischat

PACKAGE = Path(gischat.__file__).resolve().parent


def root() -> Path:
    """The directory that contains `supervisord.conf` and `deploy/`."""
    packaged = PACKAGE / "files"
    return packaged if packaged.is_dir() else PACKAGE.parent


def path(name: str) -> Path:
    """The path of a file, by its name in a clone: `deploy/valkey.conf`."""
    return root() / name
