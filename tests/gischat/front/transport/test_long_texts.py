"""Photos and layers are parsed in pieces: the result is the same, and no step of the event loop handles a whole one."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from gischat.errors import Uncompliant
from gischat.front.transport.frame_parser import FrameParser
from gischat.protocol.long_text import PIECE_BYTES, LongText, Pieces
from gischat.protocol.messages import Message
from gischat.protocol.parsing import MessageParser
from tests.gischat.front.transport.test_websocket_protocol import frame, scenes
from tests.support.settings import settings
from tests.support.waiting import until

CHUNK = 2**18
HEAD = {"id": "6e7ebd47-04a8-4e3f-9b8a-0d6b3b1f4f4e", "timestamp": 1}
RUN = "iVBORw0KGgo/+8AB" * (3 * PIECE_BYTES // 16 + 5)
PHOTO = {"type": "image", "author": "jane", "image_data": RUN} | HEAD
RING = [[number, -number / 7, None] for number in range(6_500)]
FEATURE = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [RING]}, "properties": {"name": "é"}}
LAYER = {"type": "geojson", "author": "jane", "layer_name": "roads", "crs_wkt": "", "crs_authid": "EPSG:4326"} | HEAD
TEXTS = {
    "a photo": PHOTO,
    "… with the data first": {"image_data": RUN, "type": "image", "author": "jane", "avatar": "é"} | HEAD,
    "… whose data ends otherwise": PHOTO | {"image_data": RUN + '"\\é' + RUN},
    "… that is too long": PHOTO | {"image_data": RUN * 9},
    "… without an author": {"type": "image", "image_data": RUN} | HEAD,
    "… whose author is as long": PHOTO | {"author": RUN},
    "… that holds another thing as long": PHOTO | {"image_data": "iVBORw0K", "comment": RUN},
    "… whose data is a list": PHOTO | {"image_data": [RUN]},
    "a layer": LAYER | {"geojson": {"type": "FeatureCollection", "features": [FEATURE]}, "style": "<qml/>"},
    "a text": {"type": "text", "author": "jane", "text": RUN} | HEAD,
    "a script": {"type": "script", "author": "jane", "name": "x.py", "raw_pycode": RUN} | HEAD,
    "no object": [RUN],
}
WRITTEN = {name: msgspec.json.encode(text).decode() for name, text in TEXTS.items()} | {
    "data that comes twice": f'{{"type":"image","author":"jane","image_data":"{RUN}","image_data":"iVBO"}}',
    "a long number": f'{{"type":"image","author":"jane","image_data":{"1" * len(RUN)}}}',
    "data that does not end": f'{{"type":"image","author":"jane","image_data":"{RUN}',
    "base64 alone": RUN,
}


def in_pieces(text: str, step: int = 50_000) -> str | LongText | bytes:
    parser, data = FrameParser(2**25), frame(text.encode())
    (event,) = [event for at in range(0, len(data), step) for event in parser.feed(data[at : at + step])]
    assert isinstance(event, (str, LongText))
    return event


def said_of(parse: Any, text: Any) -> object:
    """The result of parsing a text; `id` and `timestamp` are those of the text, or removed."""
    try:
        message: Message = parse(text)
    except Uncompliant as refusal:
        return refusal.reason, refusal.fields
    content = msgspec.json.decode(bytes(message.body)) | ({} if b'"timestamp":1,' in message.body[:] else HEAD)
    return message.type, message.author, len(message.body) > 0, content


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_parsing_in_pieces_gives_the_same_result(text: str) -> None:
    parser = MessageParser(settings(max_image_raw_length=len(RUN) * 8))
    taken = in_pieces(text)
    assert isinstance(taken, LongText)
    assert taken.whole() == text
    assert taken.size == len(text.encode())
    assert said_of(parser.parse_long, taken) == said_of(parser.parse, text)


def test_a_text_with_little_base64_is_parsed_once_as_a_whole() -> None:
    layer = msgspec.json.encode({"style": RUN, "geojson": list(range(100_000))}).decode()
    assert in_pieces(layer) == layer


def test_slices_of_a_photo_in_pieces_are_those_of_the_whole() -> None:
    message = MessageParser(settings()).parse_long(in_pieces(WRITTEN["a photo"]))  # type: ignore[arg-type]
    assert isinstance(message.body, Pieces)
    whole = MessageParser(settings()).parse(WRITTEN["a photo"]).body
    assert bytes(message.body) == whole
    for start, stop in [(0, 10), (5, PIECE_BYTES), (PIECE_BYTES - 1, 3 * PIECE_BYTES), (0, None), (10**6, 10**7)]:
        assert message.body[start:stop] == whole[start:stop]


@contextmanager
def watched() -> Iterator[list[float]]:
    """The CPU seconds of the event loop's steps."""
    steps: list[float] = []
    run = asyncio.Handle._run

    def watch(handle: asyncio.Handle) -> None:
        since = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - since)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", watch)
        yield steps


def long_one(name: str) -> str:
    """A photo or layer of megabytes."""
    repeated = RUN if name == "a photo" else msgspec.json.encode(RING)[1:-1].decode()
    return WRITTEN[name].replace(repeated, ("" if name == "a photo" else ",").join([repeated] * 20))


@pytest.mark.parametrize("name", ["a photo", "a layer"])
def test_no_step_has_more_than_two_pieces_to_parse(name: str) -> None:
    taken = in_pieces(long_one(name))
    assert isinstance(taken, LongText)
    assert max(map(len, [*taken.pieces, taken.text])) <= 2 * PIECE_BYTES < taken.size / 20
    assert isinstance(MessageParser(settings()).parse_long(taken).body, Pieces)


@pytest.mark.parametrize("name", ["a photo", "a layer"])
async def test_no_step_of_the_loop_takes_as_long_as_a_whole_text(name: str) -> None:
    parser, text = MessageParser(settings()), long_one(name)
    sent, ratios = frame(text.encode()), list[float]()
    async with scenes() as (scene,):
        for _ in range(3):
            bodies: list[Any] = []
            scene.receive = lambda found, to=bodies: to.append(_parsed(parser, found).body)  # type: ignore[method-assign]
            with watched() as steps:
                for at in range(0, len(sent), CHUNK):
                    await scene.send(sent[at : at + CHUNK])
                await until(lambda has=bodies: bool(has))
                for at in range(0, len(text), CHUNK):  # as it is uploaded to Redis
                    assert len(bodies[0][at : at + CHUNK]) <= CHUNK
                    await asyncio.sleep(0)
            since = time.thread_time()
            parser.parse(text.encode().decode())
            ratios.append(max(steps) / (time.thread_time() - since))
    assert min(ratios) < 0.25, ratios


def _parsed(parser: MessageParser, text: str | LongText) -> Message:
    return parser.parse_long(text) if isinstance(text, LongText) else parser.parse(text)
