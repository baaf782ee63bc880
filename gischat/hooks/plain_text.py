"""Converts Markdown to plain text, and splits long texts: clients display plain texts of a limited length."""

import re
from collections.abc import Callable

from gischat.protocol.wording import is_blank

MAX_PIECES = 4  # per text
MAX_MARKUP = 10_000  # characters of Markdown that are converted
PIECE_COST = 20  # characters that each piece of Markdown counts as, in addition to its own
ELLIPSIS = "…"

_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_LANGUAGE = re.compile(r"\A[\w+-]*\n")

_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "nbsp": " ", "#39": "'"}

# Each pattern searches at most a line, or some hundred characters, so that short texts cannot take long
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
    """Convert Markdown, or Slack's dialect of it, to plain text; URLs follow their labels."""
    parts = _CODE.split(markdown[:MAX_MARKUP].replace("\r\n", "\n"))
    parts[::2] = [_without_marks(part) for part in parts[::2]]
    parts[1::2] = [_LANGUAGE.sub("", part.strip("`")) for part in parts[1::2]]
    return joined("".join(parts).split("\n"))


class Reader:
    """Converts the Markdown of one body: many pieces, but together no more than the limit of one.

    More would not be published, and the sender determines the number of pieces.
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
    """A label followed by its URL."""
    label = label.strip()
    return f"{label} ({url})" if label and url and label != url else label or url


def joined(lines: list[str]) -> str:
    """Join the lines that are not blank."""
    return "\n".join(line.rstrip() for line in lines if not is_blank(line))


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip()


def pieces(text: str, longest: int) -> list[str]:
    """Split a text into at most `MAX_PIECES` messages of at most `longest` characters; drops the rest.

    Truncated pieces end with an ellipsis. A piece ends at the last line break, or else space, of its second half.
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
