"""Every link in the documents leads somewhere: to a file of ours, and to a heading where it names one."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(path for folder in (".", "docs", "deploy") for path in (ROOT / folder).glob("*.md"))

CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(text: str) -> Iterator[str]:
    """Where a document's links lead, images' too; what stands in code is none."""
    return (found[1] for found in LINK.finditer(CODE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to a document's headings; those that repeat are numbered."""
    seen: Counter[str] = Counter()
    names = set()
    for found in HEADING.finditer(FENCED.sub("", text)):
        name = re.sub(r"[^\w\- ]", "", found[1].lower()).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def broken(document: Path) -> Iterator[str]:
    """Links of a document to places of ours that are not there."""
    for link in links(document.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            yield link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert list(broken(document)) == []


def test_every_document_is_found_from_the_readme() -> None:
    # Given whoever begins with the README and follows every link
    found, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        document = ahead.pop()
        found.add(document)
        targets = (document.parent / link.partition("#")[0] for link in links(document.read_text("utf-8")))
        ahead += {one.resolve() for one in targets if one.suffix == ".md" and one.is_file()} - found
    # Then there is no document that they do not meet
    assert set(DOCUMENTS) <= found
