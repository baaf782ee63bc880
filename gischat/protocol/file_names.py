r"""Names that clients make files of: in a temporary directory, with nothing but an extension added.

A slash in them would write where their sender likes. What no file name may hold on some system becomes `_`:

    / \ : * ? " < > |           Windows, https://learn.microsoft.com/windows/win32/fileio/naming-a-file
    control characters          everywhere
    . at the start, or two      hidden files, the parent directory
    . and blanks at the end     Windows drops them
    CON, NUL, COM1 …            devices of Windows, with any extension: the last letter goes
    directions, zero width      a name that looks like another: `wells\u202egnp.exe` (UTS #39)

All else stays, in any script; a joiner does where it joins (Persian, emoji). A harmless name stays as it is.
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
    """The name as no system could misread it; one of which nothing can be seen is `UNNAMED`."""
    return UNNAMED if is_blank(text) else _harmless(text)


@lru_cache(1000)
def icon_name(text: str) -> str:
    """An icon's name or path within the icons, `/mIconFolder.svg`: each of its parts as no system could misread it.

    Clients read the file of this name below their icons, or among their Qt resources (`:/`), and nowhere else: a path
    that leads to `/dev/zero` would hang them.
    """
    inside = text.removeprefix(RESOURCES)
    return text[: len(text) - len(inside)] + "/".join(map(_harmless, inside.split("/")))


def _harmless(text: str) -> str:
    return _HARMFUL.sub(lambda found: "_" * len(found[0]), text)
