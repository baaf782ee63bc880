"""The embedded Valkey server, as started by supervisord: python -m gischat.supervision.valkey SERVER ...

Valkey does not start with an append-only file that is corrupt in the middle (a disk error, a full disk), and
supervisord would restart it for ever. So if the last start failed, the file is first truncated after its last valid
command, as `valkey-check-aof --fix` does; a copy of the original is kept.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gischat.settings import load
from gischat.supervision import exec_child
from gischat.supervision.notices import tell

FAILED_WITHIN = 20.0  # seconds: a server that exits so soon after its start did not load its data

DIRECTORY = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
MAX_HEADER_BYTES = 64  # more than any `*3` or `$120` line has


def main(command: list[str]) -> None:
    started, listening = (Path(os.environ["RUN_DIR"], name) for name in ("valkey.started", "valkey.sock"))
    # After an orderly shutdown the socket is gone.
    if _is_recent(started) and listening.exists():
        for message in repair(Path(os.environ["STATE_DIR"])):
            tell(load(), message)
    started.touch()
    exec_child.main(command)


def _is_recent(marker: Path) -> bool:
    return marker.exists() and time.time() - marker.stat().st_mtime < FAILED_WITHIN


def repair(state_dir: Path) -> Iterator[str]:
    """Truncate corrupt append-only files; yields messages about what was done, or what to do."""
    directory = state_dir / DIRECTORY
    is_damaged = False
    for file in _increments(directory):
        with file.open("r+b") as content:
            end = good_end(content)
            if end is None:
                continue
            is_damaged = True
            original = state_dir / f"{file.name}.damaged-{int(time.time())}"
            try:
                shutil.copyfile(file, original)
            except OSError as error:
                original.unlink(missing_ok=True)
                yield f"{file} is damaged at byte {end}, and cannot be copied before it is cut: {error.strerror}"
                continue
            content.truncate(end)
        yield (
            f"{file} was damaged at byte {end} and has been cut there; the original is {original}. "
            "The history of some channels, bans and freezes may be missing"
        )
    if not is_damaged and directory.exists():
        yield (
            "the embedded Valkey ended right after its last start; its own lines say why. "
            f"If it cannot read its data, move {directory} away: the chat then starts with an empty history"
        )


def _increments(directory: Path) -> list[Path]:
    """The incremental files, in the manifest's order; the base file is a snapshot, which cannot be truncated."""
    try:
        manifest = (directory / MANIFEST).read_text("utf-8", "replace")
    except OSError:
        return []
    names = re.findall(r"^file (\S+) seq \d+ type i", manifest, re.MULTILINE)
    return [directory / name for name in names if (directory / name).is_file()]


def good_end(content: BinaryIO) -> int | None:
    """The end of the last valid command if a corrupt one follows; else None.

    A file that merely ends within a command is not corrupt: Valkey itself truncates it.
    """
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    end = 0
    while end < size:
        if not _skip_command(content, size):
            return end
        end = content.tell()
    return None


def _skip_command(content: BinaryIO, size: int) -> bool:
    """Read past one command (RESP: an array of bulk strings); False if it is corrupt."""
    header = content.readline(MAX_HEADER_BYTES)
    if header.startswith(b"#"):  # an annotation
        return header.endswith(b"\n")
    words = _number(header, b"*")
    if words is None:
        return content.tell() >= size and header.startswith(b"*") and b"\n" not in header
    for _ in range(words):
        header = content.readline(MAX_HEADER_BYTES)
        length = _number(header, b"$")
        if length is None:
            return content.tell() >= size and b"\n" not in header and header[:1] in (b"", b"$")
        content.seek(length, os.SEEK_CUR)
        if content.tell() + 2 > size:
            content.seek(0, os.SEEK_END)
            return True
        if content.read(2) != b"\r\n":
            return False
    return True


def _number(header: bytes, sign: bytes) -> int | None:
    found = re.fullmatch(re.escape(sign) + rb"(\d{1,10})\r\n", header)
    return int(found[1]) if found else None


if __name__ == "__main__":
    main(sys.argv[1:])
