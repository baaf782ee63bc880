"""Telegram's messages become the contract's, whatever is in them; and the contract's calls of the Bot API."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gischat.bridges.nicknames import candidates
from gischat.bridges.telegram.incoming import KINDS, convert, named, sender, text_of
from gischat.bridges.telegram.outgoing import cut, outgoing
from gischat.protocol.schemas import schemas
from tests.support.contract import sample
from tests.support.settings import settings

KEYS = st.sampled_from(
    [
        *("text", "caption", "entities", "offset", "length", "url", "type", "photo", "document", "location", "venue"),
        *("file_id", "file_size", "file_name", "mime_type", "width", "height", "latitude", "longitude", "title"),
        *("from", "sender_chat", "id", "username", "first_name", *KINDS),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just("text_link")
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_any_message_is_nothing_or_what_the_contract_takes(message: dict[str, Any]) -> None:
    sender(message)
    found = convert(message, 255, 800)
    for one in found.contents if found else ():
        errors = schemas(settings())[one["type"]].validate({**one, "author": "alice"})
        assert errors.keys() <= {"text"}, errors  # a text may show nothing: its sender is told so


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"text": "hello"}, "hello"),
        ({"animation": {"file_name": "a.gif"}, "document": {"file_name": "a.gif"}}, "(an animation: a.gif)"),
        ({"sticker": {"emoji": "😀"}}, "(a sticker: 😀)"),
        ({"voice": {"duration": 3}, "caption": "listen"}, "(a recording) listen"),
        ({"poll": {"question": "Which CRS?"}}, "(a poll: Which CRS?)"),
        ({"contact": {"phone_number": "+33…"}}, "(a contact)"),
        ({"pinned_message": {"text": "x"}}, ""),
    ],
)
def test_what_is_no_text_is_described(message: dict[str, Any], expected: str) -> None:
    found = convert(message, 255, 800)
    assert " ".join(one["text"] for one in found.contents) == expected if found else not expected


def test_links_stay_behind_their_words_counted_in_utf_16() -> None:
    links = [
        {"type": "text_link", "offset": 3, "length": 2, "url": "https://a.example"},
        {"type": "text_link", "offset": 6, "length": 17, "url": "https://b.example"},
        {"type": "bold", "offset": 0, "length": 99},
    ]
    text = "𝒳 ab https://b.example"
    assert text_of({"text": text, "entities": links}) == "𝒳 ab (https://a.example) https://b.example"


@pytest.mark.parametrize(
    ("who", "nickname"),
    [
        ({"id": 1, "username": "Alice_B", "first_name": "A"}, "alice_b-telegram"),
        ({"id": 1, "first_name": "Jürgen", "last_name": "Müller"}, "Jurgen-Muller-telegram-[0-9a-f]{4}"),
        ({"id": 2, "first_name": "alice_b"}, "alice_b-telegram-[0-9a-f]{4}"),  # not whoever has that username
        ({"id": 3, "first_name": "李雷"}, "telegram-[0-9a-f]{4}"),
        ({"id": -100, "title": "Field work"}, "Field-work-telegram-[0-9a-f]{4}"),
    ],
)
def test_people_are_named_so_that_they_are_recognised(who: dict[str, Any], nickname: str) -> None:
    found = named(who)
    assert found is not None
    assert re.fullmatch(nickname, next(candidates(found.id, found.name, shortest=3, longest=32)))


def test_the_picture_that_a_channel_shows_is_taken() -> None:
    def taken(*sides: int) -> str | None:
        sizes = [{"file_id": str(side), "width": side, "height": 9} for side in sides]
        found = convert({"photo": sizes}, 255, 800)
        return found.attachment.address if found and found.attachment else None

    assert [taken(90, 320, 800, 1280), taken(320, 90), taken(2560, 1280, 799), taken()] == ["800", "320", "1280", None]


@pytest.mark.parametrize("text", ["x" * 10_000, "🗺" * 5000, "a" + "🗺" * 5000, "שלום " * 2000])
def test_a_text_longer_than_telegram_takes_is_cut_between_characters(text: str) -> None:
    calls = outgoing(sample("text", author="jane", text=text), None)
    parts = [call.parameters["text"] for call in calls]
    assert "".join(parts) == f"jane: {text}"
    assert all(len(part.encode("utf-16-le")) <= 2 * 4096 for part in parts)
    # What shows nothing is no part
    assert (cut("a" * 4 + " " * 8 + "b", 4), cut("", 4)) == (["aaaa", "b"], [""])


@pytest.mark.parametrize(("box", "accuracy"), [((4, 45, 4, 45), None), ((4, 45, 4.01, 45), 394), ((0, 0, 9, 9), None)])
def test_an_extent_is_its_middle_and_how_far_it_reaches(
    box: tuple[float, float, float, float], accuracy: int | None
) -> None:
    words, place = outgoing(sample("bbox", author="jane"), box)
    assert words.parameters["text"].startswith("jane: a map extent, 0.1 -3 652000.25 6862000 (EPSG:2154)")
    assert (place.method, place.parameters.get("horizontal_accuracy")) == ("sendLocation", accuracy)
