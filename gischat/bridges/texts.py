"""Texts of other chats as texts of the protocol: plain, and no longer than a message may be. Pure."""

import re
from html import unescape
from typing import Any

MAX_PARTS = 8  # per text: more would flood the channel
ELLIPSIS = " […]"

_BLOCKS = frozenset(("p", "div", "br", "li", "tr", "blockquote", "pre", "hr", *(f"h{level}" for level in range(1, 7))))
_DROPPED = frozenset(("script", "style", "head", "title", "mx-reply"))


def split(text: str, longest: int) -> list[str]:
    """Split a text into parts that fit into a message each, between words if possible; if it takes more than
    `MAX_PARTS`, the last part ends with a mark."""
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
    """A text as one or several messages."""
    return [{"type": "text", "text": part} for part in split(text, longest)]


def shortened(text: str, longest: int) -> str:
    """Truncate a text, if it is too long, and mark that."""
    if len(text) <= longest:
        return text
    mark = ELLIPSIS if longest > 2 * len(ELLIPSIS) else "…"
    return text[: longest - len(mark)].rstrip() + mark


def _cut(text: str, longest: int) -> tuple[str, str]:
    place = max(text.rfind(" ", 0, longest + 1), text.rfind("\n", 0, longest + 1))
    if place <= longest // 2:  # one long word, such as a URL
        place = longest
    return text[:place].rstrip(), text[place:].lstrip()


def from_html(html: str) -> str:
    """Convert a formatted text to plain text; the URLs of links follow their texts.

    Not by `html.parser`, which takes minutes for some texts of 64 KB (`<a <a <a`). Here each character is read a few
    times at most.
    """
    reader = _Reader()
    place, comments_end = 0, True
    while (start := html.find("<", place)) >= 0:
        reader.add_text(html[place:start])
        if comments_end and html.startswith("<!--", start):
            end = html.find("-->", start)
            comments_end = end >= 0
            place = end + len("-->") if comments_end else start + 1
        elif found := _TAG.match(html, start):
            reader.add_tag(found[2].lower(), found[3], is_end=bool(found[1]))
            place = found.end()
        else:
            reader.add_text("<")
            place = start + 1
    reader.add_text(html[place:])
    lines = (" ".join(line.split()) for line in "".join(reader.parts).splitlines())
    return "\n".join(line for line in lines if line)


# Neither tags nor attributes contain another <, so a failing match ends at the next one.
_TAG = re.compile(r"""<(/?)([A-Za-z][A-Za-z0-9-]*)((?:[^<>"']|"[^"<]*"|'[^'<]*')*)>""")
_ATTRIBUTE = re.compile(r"""(?<![A-Za-z-])([A-Za-z-]+)=(?:"([^"]*)"|'([^']*)'|([^\s"']+))""")


class _Reader:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._dropped: list[str] = []  # the open elements whose content is dropped
        self._links: list[str] = []

    def add_text(self, text: str) -> None:
        if text and not self._dropped:
            self.parts.append(unescape(text))

    def add_tag(self, tag: str, attributes: str, *, is_end: bool) -> None:
        if tag in _DROPPED:
            if not is_end:
                self._dropped.append(tag)
            elif self._dropped and self._dropped[-1] == tag:
                self._dropped.pop()
        elif self._dropped:
            return
        elif tag in _BLOCKS:
            self.parts.append("\n- " if tag == "li" and not is_end else "\n")
        elif tag == "a":
            self._add_link(attributes, is_end=is_end)
        elif tag == "img":
            self.parts.append(_attribute(attributes, "alt"))

    def _add_link(self, attributes: str, *, is_end: bool) -> None:
        if not is_end:
            self._links.append(_attribute(attributes, "href"))
        elif self._links:
            address = self._links.pop()
            if address.startswith(("http://", "https://")) and address not in self.parts[-1:]:
                self.parts.append(f" ({address})")


def _attribute(attributes: str, name: str) -> str:
    found = (match for match in _ATTRIBUTE.finditer(attributes) if match[1].lower() == name)
    return next((unescape(match[2] or match[3] or match[4] or "") for match in found), "")
