"""Texts in pieces: whatever a text is, and wherever it is cut, the result is that of parsing it as a whole."""

import itertools
import json
import re
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gischat.errors import Uncompliant
from gischat.protocol import long_text
from gischat.protocol.long_text import LongText, LongTextBuilder
from gischat.protocol.messages import Message
from gischat.protocol.parsing import MessageParser
from tests.support.settings import settings

PARSER = MessageParser(settings())
HEAD = re.compile(rb'"id":"[^"]*","timestamp":\d+')
MEMBERS = {"type": "geojson", "author": "jane", "layer_name": "a", "crs_wkt": 'A["b"]', "crs_authid": "", "style": None}
ODD = ["],", '"},{"', "}]{", "\\", '\\"']  # texts that look like other things
FEATURES = [{"é": {"ring": [[n, -n / 7], [n / 3, n]], "name": ODD[n % 40 :][:1]}, "a": None} for n in range(60)]


def received(text: bytes, first: int, piece: int) -> str | LongText:
    """A text that arrives in pieces of that size, after a first one."""
    builder = LongTextBuilder()
    with patch.object(long_text, "PIECE_BYTES", piece):
        builder.add(text[:first])
        for at in range(first, len(text), piece):
            builder.add(text[at : at + piece])
    return builder.text()


def result(text: str | LongText) -> Any:
    """What becomes of a text; ids and timestamps are removed, since the parser may have made them."""
    try:
        message: Message = PARSER.parse_long(text) if isinstance(text, LongText) else PARSER.parse(text)
    except Uncompliant as refusal:
        return refusal.reason, refusal.fields
    return message.type, message.author, HEAD.sub(b"", bytes(message.body), count=1)


def is_same(text: bytes, first: int, piece: int) -> bool:
    """Whether a text is parsed in pieces; the result is the same in any case."""
    try:
        whole = text.decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            received(text, first, piece)
        return False
    found = received(text, first, piece)
    assert (found.whole() if isinstance(found, LongText) else found) == whole
    assert result(found) == result(whole)
    return isinstance(found, LongText)


def written(geojson: Any, members: dict[str, Any] = MEMBERS, **style: Any) -> bytes:
    return json.dumps(members | {"geojson": geojson}, **style).encode()


@pytest.mark.parametrize("style", [{}, {"indent": 1}, {"separators": (",", ":"), "ensure_ascii": False}])
def test_a_layer_is_parsed_in_pieces_nearly_wherever_it_is_cut(style: dict[str, Any]) -> None:
    text = written({"features": FEATURES}, **style)
    assert sum(is_same(text, piece, piece) for piece in range(200, 400)) > 150


def test_a_layer_with_backslashes_before_a_cut_is_parsed_in_pieces() -> None:
    text = written([["\\"]] * 200)
    assert all(is_same(text, piece, piece) for piece in range(200, 220))


def test_a_refused_text_is_read_as_a_whole_once() -> None:
    text = received(written({"features": FEATURES}, indent=1).replace(b"geojson", b"text", 1), 300, 300)
    assert isinstance(text, LongText)
    with patch.object(LongText, "whole", autospec=True, side_effect=LongText.whole) as whole:
        assert result(text)[0] == "The text is missing."
    assert whole.call_count == 1


INSIDE = [
    '{"a":[[1],[2]]},"author":"eve","geojson":{"a":[[1],[2],[3]]}',
    '{"a":[[1],[2]]},"author":"eve","style":{"a":[[1],[2],[3]]}',
    '[[1],"[[{",[2],"]]}",[3],"}]",[4],"[{[",[5]]',
    '[[1],"]],{",[2]],"author":"eve","geojson":[[3],"[}],",[4],[5]]',
    r'[[1],"\\",[2],"\"],",[3],"\u0022],",[4],"\\\"],[",[5]]',
    r'[[1],"\\\",[2],"\\\\",[3],"\\\\",[4],"]"]',
    '{"a":[[1],[2],[3]},{"b":[4],[5],[6]]}',
    '[[1],[2],[3],{"a":[4],"b":[5],},[6],[7]]',
    "[[1],[2],[3],,[4],[5],[6],]",
    "[[1],[2],[3][4],[5],[6],[7]]",
    '[[1],[2],["a":3],[4],[5],{6},[7]]',
    '[[1],[2],[3],"\t",[4],[5],[6],[7]]',
    r'[[1],[2],[3],"\ud83d",[4],[5],[6],[7]]',
    "[[1],[2],[3],NaN,[4],[5],[6],[7]]",
    '[[1],[2],[3],"\udcff",[4],[5],[6],[7]]',
    '[[1],[2],[3],"\udcc3",[4],[5],[6],[7]]',
    "[[1],[2],[03],[1.],[5],[6],[7]]",
    "[" * 9 + "[1]," * 9 + "2" + "]" * 9 + "," + "[" * 9 + "[1]," * 9 + "2" + "]" * 9,
    "[" * 30 + "[1]," * 9 + "2" + "]" * 30,
    '[[1],[2],[3],[4],[5],[6],[7]],"geojson":null',
    '[[1],[2],[3],[4],[5],[6],[7]],"type":"text"',
    '[[1],[2],[3],[4],[5],[6],[7]],"type":"image","image_data":[[1],[2],[3],[4],[5]]',
    '{"a":1},"other":[[1],[2],[3],[4],[5],[6],[7]]',
    '{"a":1},"author":[[1],[2],[3],[4],[5],[6],[7]]',
]


@pytest.mark.parametrize("inside", INSIDE)
def test_a_layer_cannot_pretend_to_end_elsewhere(inside: str) -> None:
    for before in ("", '"style":{"a":[[1],[2],[3]]},'):
        text = written(0).replace(b'"geojson": 0', f'{before}"geojson":{inside}'.encode(errors="surrogateescape"))
        begin = len(text) - len(before) - len(inside) - len('"geojson":')
        for first, piece in itertools.product(range(begin, len(text), 9), range(4, 40, 5)):
            is_same(text, first, piece)


@pytest.mark.parametrize("end", ["\\", "\\u", "\\u1", "\\u12", "\\u123"])
def test_base64_is_not_taken_for_the_end_of_an_escape(end: str) -> None:
    text = f'{{"type":"image","author":"jane","image_data":"{end}{"z" * 99}"}}'.encode()
    assert not is_same(text, text.index(b"z"), 20)


json_values = st.recursive(
    st.none() | st.floats() | st.integers(-9, 9) | st.sampled_from(["é", *ODD]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "", "}],"]), inner, max_size=2),
    max_leaves=9,
)
FRAGMENTS = [b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b" ", b"1", b"\xc3", b"\xa9", b"\0", b"u", b"],", b"},{"]
FRAGMENTS += [b'}],"author":"eve","geojson":{"a":[[', b'"type":"text",']
changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.sampled_from(FRAGMENTS)), max_size=2)


@given(
    features=st.lists(json_values, min_size=1, max_size=4),
    order=st.permutations([*MEMBERS, "geojson", "other"]),
    is_ascii=st.booleans(),
    changes=changes,
    first=st.floats(0.2, 0.6),
    piece=st.integers(9, 90),
)
def test_any_text_has_the_same_result_as_if_it_is_parsed_as_a_whole(
    features: Any, order: Sequence[str], is_ascii: bool, changes: Any, first: float, piece: int
) -> None:
    members = MEMBERS | {"geojson": {"features": [[1], {"a": features}, [[2], {}]] * 9}, "other": features}
    text = json.dumps({name: members[name] for name in order}, ensure_ascii=is_ascii).encode()
    for where, dropped, fragment in changes:
        at = int(where * len(text))
        text = text[:at] + fragment + text[at + dropped :]
    is_same(text, int(first * len(text)), piece)
