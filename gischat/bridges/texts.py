"""Texts of other chats, as the contract takes them: plain, and no longer than a message may be. Pure."""

from html.parser import HTMLParser
from typing import Any

MAX_PARTS = 8  # of one text: more would be a page, and hide what others say
ELLIPSIS = " […]"

_BLOCKS = frozenset(("p", "div", "br", "li", "tr", "blockquote", "pre", "hr", *(f"h{level}" for level in range(1, 7))))
_DROPPED = frozenset(("script", "style", "head", "title", "mx-reply"))
MAX_HTML = 2**17  # characters; what is longer is cut before it is looked into


def split(text: str, longest: int) -> list[str]:
    """A text in parts that fit into a message each, cut between words where it can be; the last one says so if there is
    more than `MAX_PARTS` hold."""
    parts: list[str] = []
    rest = text.strip()
    while rest and len(parts) < MAX_PARTS:
        if len(rest) <= longest:
            return [*parts, rest]
        part, rest = _cut(rest, longest)
        parts.append(part)
    if rest and parts:
        parts[-1] = shortened(parts[-1] + " " * longest, longest)
    return parts


def text_messages(text: str, longest: int) -> list[dict[str, Any]]:
    """A text as one message or several."""
    return [{"type": "text", "text": part} for part in split(text, longest)]


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning with a mark that something is missing."""
    if len(text) <= longest:
        return text
    mark = ELLIPSIS if longest > 2 * len(ELLIPSIS) else "…"
    return text[: longest - len(mark)].rstrip() + mark


def _cut(text: str, longest: int) -> tuple[str, str]:
    place = max(text.rfind(" ", 0, longest + 1), text.rfind("\n", 0, longest + 1))
    if place <= longest // 2:  # one long word, an address
        place = longest
    return text[:place].rstrip(), text[place:].lstrip()


def from_html(html: str) -> str:
    """What can be read of a formatted text; addresses of links stay, behind their words."""
    reader = _Reader()
    reader.feed(html[:MAX_HTML])
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropped = 0
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self._dropped += 1
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in _BLOCKS:
            self.parts.append("\n")
        elif tag == "a":
            self._links.append(dict(attrs).get("href") or "")
        elif tag == "img":
            self.parts.append(dict(attrs).get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(self._dropped - 1, 0)
        elif tag in _BLOCKS:
            self.parts.append("\n")
        elif tag == "a" and self._links:
            address = self._links.pop()
            if address.startswith(("http://", "https://")) and address not in self.parts[-1:]:
                self.parts.append(f" ({address})")

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self.parts.append(data)
