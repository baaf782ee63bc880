"""Foreign texts become messages: plain, and no longer than one may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gischat.bridges.texts import MAX_PARTS, from_html, shortened, split


@given(st.text(), st.integers(10, 300))
def test_a_text_is_split_into_parts_that_fit(text: str, longest: int) -> None:
    parts = split(text, longest)
    assert len(parts) <= MAX_PARTS
    assert all(0 < len(part) <= longest for part in parts)
    if len(parts) < MAX_PARTS:  # nothing is lost but blanks
        assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_text_is_cut_between_words_and_says_that_it_goes_on() -> None:
    assert split("one two three four", 9) == ["one two", "three", "four"]
    parts = split("word " * 1000, 50)
    assert (len(parts), parts[-1][-4:]) == (MAX_PARTS, " […]")
    assert (shortened("short", 10), shortened("a long sentence", 12)) == ("short", "a long s […]")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("a<br/>b &lt; c &amp; d", "a\nb < c & d"),
        ("<ul><li>x</li><li>y</li></ul>", "- x\n- y"),
        ('<a href="https://qgis.org">QGIS</a>', "QGIS (https://qgis.org)"),
        ('<a href="https://qgis.org">https://qgis.org</a>', "https://qgis.org"),
        ('<a href="javascript:alert(1)">x</a>', "x"),
        ("<mx-reply><blockquote>old</blockquote></mx-reply>new", "new"),
        ("<script>alert(1)</script><style>p{}</style>ok", "ok"),
        ('<img src="x" alt="a map">', "a map"),
        ("</p></a></script>unbalanced", "unbalanced"),
        ("<" * 5000, "<" * 5000),
    ],
)
def test_html_is_reduced_to_text(html: str, text: str) -> None:
    assert from_html(html) == text


@pytest.mark.parametrize(
    "piece", ["<!--", "<a ", "</", "<![CDATA[", "<a href='", "<a b=", "<x y='>", "&#", "<div>", "b"]
)
def test_no_text_takes_longer_than_its_length(piece: str) -> None:
    """A parser that looks behind each < to the end takes minutes of this."""
    from_html(piece * 20_000)
    from_html(f"<a {piece.strip('<') * 20_000}>")
