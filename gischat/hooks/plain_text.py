"""Markdown as plain text, and long texts in pieces: clients show what is written, and no more than so much of it."""

import re
from collections.abc import Callable

from gischat.protocol.wording import is_blank

MAX_PIECES = 4  # that a text becomes at the most
MAX_MARKUP = 10_000  # characters of Markdown that are read
PIECE_COST = 20  # characters that each piece of Markdown counts as, besides its own
ELLIPSIS = "…"

_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_LANGUAGE = re.compile(r"\A[\w+-]*\n")

_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": " ", "#39": "'"}

# What no longer text than a few lines can make slow: each looks no farther than a line, or some hundred characters
_IN_ORDER: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"<br ?/?>", re.IGNORECASE), "\n"),
    # Slack's links and mentions: <https://…|label>, <@U1|name>, <#C1|name>, <!here>, <!subteam^S1|@team>
    (re.compile(r"<((?:https?://|mailto:)[^|<>\s]+)\|([^<>\n]+)>"), r"[\2](\1)"),
    (re.compile(r"<((?:https?://|mailto:)[^|<>\s]+)>"), r"\1"),
    (re.compile(r"<[@#!][^|<>\n]*\|([^<>\n]+)>"), r"\1"),
    (re.compile(r"<([@#][^|<>\n]+)>"), r"\1"),
    (re.compile(r"<!([^|<>\n]+)>"), r"@\1"),
    (re.compile(r"!?\[([^][\n]*)\]\(<?([^\s()<>]+)>?(?: [^()\n]*)?\)"), lambda found: linked(found[1], found[2])),
    (re.compile(r"^ {0,3}(?:#{1,6} +|> ?)+", re.MULTILINE), ""),
    (re.compile(r"^ {0,3}([-*_])(?: ?\1){2,} *$", re.MULTILINE), ""),
    (re.compile(r"^( *)[*+] +", re.MULTILINE), r"\1- "),
    (re.compile(r"(\*\*|__|~~)(?=\S)([^\n]{0,500}?\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*_~])([*_~])(?=[^\s*_~])([^*_~\n]{0,500}?)(?<=\S)\1(?![\w*_~])"), r"\2"),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!~>-])"), r"\1"),
    (re.compile(r"&(amp|lt|gt|quot|nbsp|#39);"), lambda found: _ENTITIES[found[1]]),
)


def plain(markdown: str) -> str:
    """What is read where Markdown, or Slack's dialect of it, is rendered; links have their address behind them."""
    parts = _CODE.split(markdown[:MAX_MARKUP].replace("\r\n", "\n"))
    parts[::2] = [_without_marks(part) for part in parts[::2]]
    parts[1::2] = [_LANGUAGE.sub("", part.strip("`")) for part in parts[1::2]]
    return joined("".join(parts).split("\n"))


class Reader:
    """Reads the Markdown of one body: many pieces, and no more of all together than of one.

    More would not be said, and whoever posts decides how many there are.
    """

    def __init__(self) -> None:
        self._left = MAX_MARKUP

    @property
    def is_over(self) -> bool:
        return self._left <= 0

    def plain(self, markdown: str) -> str:
        taken = markdown[: max(0, self._left)]
        self.spend(len(taken))
        return plain(taken)

    def spend(self, length: int = 0) -> None:
        self._left -= length + PIECE_COST


def _without_marks(markdown: str) -> str:
    for pattern, replacement in _IN_ORDER:
        markdown = pattern.sub(replacement, markdown)
    return markdown


def linked(label: str, url: str) -> str:
    """A label with where it leads."""
    label = label.strip()
    return f"{label} ({url})" if label and url and label != url else label or url


def joined(lines: list[str]) -> str:
    """Those lines in which something can be seen."""
    return "\n".join(line.rstrip() for line in lines if not is_blank(line))


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip()


def pieces(text: str, longest: int) -> list[str]:
    """A text as messages of at most so many characters; there are at most `MAX_PIECES`, and what is beyond is cut off.

    Each but a whole end bears an ellipsis. A piece ends at the last line end, or else blank, of its second half.
    """
    found: list[str] = []
    rest = text.strip()
    while rest and len(found) < MAX_PIECES:
        if len(rest) <= longest:
            found.append(rest)
            break
        room = max(1, longest - len(ELLIPSIS))
        ends = (rest.rfind(sign, room // 2, room + 1) for sign in ("\n", " "))
        end = next((end for end in ends if end > 0), room)
        found.append((rest[:end].rstrip() + ELLIPSIS)[:longest])
        rest = rest[end:].lstrip()
    return [piece for piece in found if not is_blank(piece)]
