r"""Sanitising of names that clients use as file names: in a temporary directory, with only an extension added.

A slash would let the sender choose the directory. Everything that is invalid in a file name on some system becomes `_`:

    / \ : * ? " < > |           Windows, https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    control characters          everywhere
    . at the start, or two      hidden files, the parent directory
    . and spaces at the end     Windows drops them
    CON, NUL, COM1 …            devices of Windows, with any extension: the last letter is replaced
    directions, zero width      names that look like others: `wells\u202egnp.exe` (UTS #39)

All other characters of any script are kept, and joiners where they join (Persian, emoji). So a harmless name is
unchanged.
"""

import re
from functools import lru_cache

from gischat.protocol.wording import is_blank

UNNAMED = "unnamed"
RESOURCES = ":/"

_SPOOFING = "\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
_SPOOFING += "\ufff9-\ufffb\U000e0000-\U000e007f"
_NEVER = r'\x00-\x1f\x7f-\x9f"*/:<>?\\|\ud800-\udfff' + _SPOOFING
_JOINERS = "\u200c\u200d"
_JOINED = rf"[^\x00-\x7f{_NEVER}{_JOINERS}]"

_HARMFUL = re.compile(
    rf"""
    [{_NEVER}]
    | (?<!{_JOINED}) [{_JOINERS}] | [{_JOINERS}] (?!{_JOINED})
    | \A\. | (?<=\.)\. | \.(?=\.)
    | [.\ ]+ \Z
    | (?i: (?<=\A co)n | (?<=\A pr)n | (?<=\A au)x | (?<=\A nu)l | (?<=\A com)[0-9¹²³] | (?<=\A lpt)[0-9¹²³]
         | (?<=\A conin)\$ | (?<=\A conout)\$ ) (?= \ * (?: \. | \Z ) )
    """,
    re.VERBOSE,
)


def file_name(text: str) -> str:
    """Sanitise a file name; a name without visible characters becomes `UNNAMED`."""
    return UNNAMED if is_blank(text) else _harmless(text)


@lru_cache(1000)
def icon_name(text: str) -> str:
    """Sanitise each part of an icon's name or path, `/mIconFolder.svg`.

    So clients read the file only below their icons' directory or among their Qt resources (`:/`); a path that leads to
    `/dev/zero` would hang them.
    """
    inside = text.removeprefix(RESOURCES)
    return text[: len(text) - len(inside)] + "/".join(map(_harmless, inside.split("/")))


def _harmless(text: str) -> str:
    return _HARMFUL.sub(lambda found: "_" * len(found[0]), text)
