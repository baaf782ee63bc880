"""All of it at once: people with QGIS, one on Matrix, a hook and a reader of events, while each part is killed once."""

import asyncio
import contextlib
import json
import random
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
from redis.exceptions import RedisError
from tornado.httpclient import HTTPError

from gischat.broker.keys import GROUP, ChannelKeys
from gischat.protocol.messages import Lane
from tests.bridges.conftest import Bridged, OpenBridged
from tests.bridges.synapse import surely
from tests.support.contract import BROADCAST, Message, sample
from tests.support.events import EventsReader
from tests.support.layers import feature, layer, point
from tests.support.ledger import Ledger
from tests.support.peers import Guest, Talker
from tests.support.pictures import as_base64, encoded, opened, quarters
from tests.support.processes import Process
from tests.support.redis_servers import Server
from tests.support.rest import Rest, channel_path
from tests.support.waiting import LOOK, until

CHANNEL = "QGIS"
HOOK, KEY = "grafana", "0123456789abcdef-of-grafana"
AHEAD = 3  # messages of one sender that not everybody has: what is killed has something in hand
KILL_EVERY = 6  # messages

OF_JANE = ["text", "image", "reply", "geojson", "crs", "bbox", "position", "model", "script", "text"]
OF_JOHN = ["script", "text", "position", "text", "image", "like", "model", "bbox", "geojson", "crs", "text"]
OF_ALICE = ["text", "position", "reply", "image", "geojson", "likes", "model", "script", "text", "liked"]
OF_HOOK = ["text", "text", "image", "text", "geojson", "text", "text"]

WGS_84 = {"crs_wkt": "", "crs_authid": "EPSG:4326"}
LAYER = layer([feature(point(2.5, 48.5))])
FILES = {
    "geojson": (".geojson", json.dumps(LAYER).encode()),
    "model": (".model3", b"<!DOCTYPE model><model/>"),
    "script": (".py", b"print(1)\n"),
}


class Heard(NamedTuple):
    """What is heard of a message: all are numbered, and each says its number in the way of its type."""

    author: str
    type: str
    number: int


def fields(type: str, number: int) -> dict[str, Any]:
    """What makes a message of QGIS that number."""
    name = f"no-{number}"
    return {
        "text": {"text": name},
        "image": {"image_data": as_base64(picture(number))},
        "geojson": {**WGS_84, "layer_name": name, "geojson": LAYER},
        "crs": {"crs_wkt": f'PROJCS["{name}"]', "crs_authid": ""},
        "bbox": {**WGS_84, "xmin": number, "ymin": 1, "xmax": number + 1, "ymax": 2},
        "position": {**WGS_84, "x": number, "y": 46},
        "model": {"model_name": name},
        "script": {"name": name},
    }[type]


def picture(number: int) -> bytes:
    return encoded(quarters(100 + number, 50), "PNG")


def heard_in_channel(message: Message) -> Heard:
    if message["type"] == "image":
        number = opened(message["image_data"]).width - 100
    elif message["type"] in ("bbox", "position"):
        number = int(message.get("x", message.get("xmin")))
    else:
        named = ("text", "layer_name", "crs_wkt", "model_name", "name")
        number = _number(" ".join(message[key] for key in named if key in message))
    return Heard(message["author"], message["type"], number)


def heard_in_room(content: dict[str, Any]) -> Heard:
    own, body = content["org.gischat"], content["body"]
    assert body.startswith(f"{own['author']}: "), body
    return Heard(own["author"], own["type"], content["info"]["w"] - 100 if own["type"] == "image" else _number(body))


def _number(words: str) -> int:
    found = re.search(r"(?:no-|a position, |a map extent, )(\d+)", words)
    assert found, words
    return int(found[1])


class Person(Guest, Talker):
    """Somebody with QGIS, who comes back whenever the connection ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.heard: list[Heard] = []
        self.messages: dict[int, Message] = {}  # by number
        self.likes: list[tuple[str, str]] = []  # who liked what

    def hear(self, message: Message) -> None:
        super().hear(message)
        if message["type"] in BROADCAST:
            self.heard.append(heard_in_channel(message))
            self.messages[self.heard[-1].number] = message
        elif message["type"] == "like":
            assert message["liked_author"] == self.name
            self.likes.append((message["liker_author"], message["message"]))


class Play:
    """Who takes part, and what they have said and heard."""

    def __init__(self, bridged: Bridged, redis: Server) -> None:
        self.alice, self.bot, self.stack = bridged.alice, bridged.bot, bridged.stack
        stack, urls = self.stack, [front.url for front in self.stack.fronts]
        self.ledger, dice = Ledger(), random.Random(1)
        self.jane = Person("jane", urls, CHANNEL, self.ledger, dice)
        self.john = Person("john", urls[::-1], CHANNEL, self.ledger, dice)
        self.dashboard: list[Heard] = []
        self.events: dict[int, str] = {}  # alice's, by number
        self.said: dict[str, list[Heard]] = {name: [] for name in ("jane", "john", HOOK, self.alice.nickname)}
        self.replies: dict[int, int] = {}
        self.calm = asyncio.Lock()  # while somebody is liked nothing is killed: a like is for who is there
        self.killed: list[Process] = []
        self._redis = redis
        self._to_kill = [stack.fronts[0], stack.both[0], bridged.bridge, redis, bridged.synapse]
        self._tasks = asyncio.TaskGroup()
        self._reader: EventsReader | None = None
        self._is_over = False

    # What is heard

    @property
    def room(self) -> list[Heard]:
        return [heard_in_room(event["content"]) for event in self.of_bot("m.room.message")]

    def of_bot(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.alice.seen if event["sender"] == self.bot.user and event["type"] == type]

    def in_room(self, author: str) -> dict[int, dict[str, Any]]:
        """The events in the room that are somebody's messages, by number."""
        events = {heard_in_room(event["content"]): event for event in self.of_bot("m.room.message")}
        return {heard.number: event for heard, event in events.items() if heard.author == author}

    def receivers(self, author: str) -> dict[str, list[Heard]]:
        """What everybody has of an author, who hears it, too; of the room only what the bridge has brought."""
        everywhere = {"jane": self.jane.heard, "john": self.john.heard, "dashboard": self.dashboard}
        if author != self.alice.nickname:
            everywhere["room"] = self.room
        return {name: [one for one in heard if one.author == author] for name, heard in everywhere.items()}

    def behind(self, author: str) -> int:
        """How much of an author somebody still lacks."""
        return len(self.said[author]) - min(len(set(heard)) for heard in self.receivers(author).values())

    # What is said

    async def begin(self, author: str, type: str) -> int:
        """The number of the next message, when most of what its author said before is everywhere."""
        await until(lambda: self.behind(author) < AHEAD, f"what {author} said to be heard", every=LOOK)
        number = sum(map(len, self.said.values())) + 1
        self.said[author].append(Heard(author, type, number))
        if number % KILL_EVERY == 0 and self._to_kill:
            self._tasks.create_task(self._kill(self._to_kill.pop(0)))
        return number

    async def talk(self, person: Person, types: list[str]) -> None:
        """Says two at a time."""
        for two in zip(types[::2], [*types[1::2], ""], strict=False):
            await person.send([await self._message(person, type) for type in two if type not in ("", "like")])
            if "like" in two:
                await self._like_jane()

    async def _message(self, person: Person, type: str) -> Message:
        if type != "reply":
            number = await self.begin(person.name, type)
            return sample(type, id=str(uuid.uuid4()), author=person.name, **fields(type, number))
        await until(lambda: self._texts(person.heard, self.alice.nickname), "a text to answer", every=LOOK)
        replied = self._texts(person.heard, self.alice.nickname)[0]
        number = await self.begin(person.name, "text")
        self.replies[number] = replied
        message = sample("text", id=str(uuid.uuid4()), author=person.name, **fields("text", number))
        return {**message, "in_reply_to_id": person.messages[replied]["id"]}

    async def talk_on_matrix(self) -> None:
        for type in OF_ALICE:
            if type == "likes":
                await self._alice_likes()
            elif type == "liked":
                await self._alice_is_liked()
            else:
                await self._alice_says(type)

    async def _alice_says(self, type: str) -> int:
        replied = 0
        if type == "reply":
            await until(lambda: self._texts(self.room, "jane"), "a text to answer", every=LOOK)
            replied = self._texts(self.room, "jane")[0]
        number = await self.begin(self.alice.nickname, "text" if replied else type)
        content: dict[str, Any] = {"msgtype": "m.text", "body": f"no-{number}"}
        if replied:
            self.replies[number] = replied
            answered = self.in_room("jane")[replied]["event_id"]
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": answered}}
        elif type == "position":
            content = {"msgtype": "m.location", "body": f"geo:46,{number}", "geo_uri": f"geo:46,{number}"}
        elif type == "image":
            url = await surely(lambda: self.alice.upload(picture(number), "image/png"))
            content = {"msgtype": "m.image", "body": f"no-{number}.png", "url": url}
        elif type in FILES:
            ending, data = FILES[type]
            url = await surely(lambda: self.alice.upload(data, "application/octet-stream"))
            content = {"msgtype": "m.file", "body": f"no-{number}{ending}", "url": url}
        self.events[number] = await self.alice.send_surely(**content)
        return number

    async def talk_by_hook(self) -> None:
        """Posts again what was not answered, as Grafana does, and `curl --retry` with a key."""
        rest = Rest(self.stack.fronts[0].url)
        for type in OF_HOOK:
            number = await self.begin(HOOK, type)
            alert = {"status": "firing", "labels": {"alertname": "flood"}, "startsAt": f"2026-01-01T00:00:{number:02}Z"}
            body, headers = json.dumps({"title": f"no-{number}", "status": "firing", "alerts": [alert]}).encode(), {}
            if type != "text":
                name, data = ("a.png", picture(number)) if type == "image" else (f"no-{number}.geojson", FILES[type][1])
                head = f'--x\r\nContent-Disposition: form-data; name="a"; filename="{name}"\r\n\r\n'
                body = head.encode() + data + b"\r\n--x--\r\n"
                headers = {"Content_Type": "multipart/form-data; boundary=x", "Idempotency_Key": str(uuid.uuid4())}
            await surely(lambda body=body, headers=headers: self._post(rest, body, headers))  # type: ignore[misc]
        rest.close()

    async def _post(self, rest: Rest, body: bytes, headers: dict[str, str]) -> None:
        answer = await rest.fetch(f"/hooks/{KEY}", "POST", body, **headers)
        if answer.code >= 500:
            raise OSError(answer.body)
        assert answer.code in (200, 202), answer.body

    # Likes

    async def _like_jane(self) -> None:
        async with self.calm:
            await self.jane.wait(lambda: self.jane.is_registered, "its nickname")
            await self._like(self.john, "jane", "well said")
            await until(lambda: ("john", "well said") in self.jane.likes, "john's like", every=LOOK)

    async def _alice_likes(self) -> None:
        async with self.calm:
            await self.jane.wait(lambda: self.jane.is_registered, "its nickname")
            await until(lambda: self._texts(self.room, "jane"), "a text to like", every=LOOK)
            liked = self.in_room("jane")[self._texts(self.room, "jane")[0]]
            relation = {"rel_type": "m.annotation", "event_id": liked["event_id"], "key": "👍"}
            await self.alice.send_surely("m.reaction", **{"m.relates_to": relation})
            await until(lambda: self._likes_of(self.alice.nickname), "alice's like", every=LOOK)

    async def _alice_is_liked(self) -> None:
        async with self.calm:
            number = await self._alice_says("text")
            await until(lambda: number in self.jane.messages, "a text to like", every=LOOK)
            await self._like(self.jane, self.alice.nickname, f"no-{number}")
            await until(lambda: self.of_bot("m.reaction"), "jane's like", every=LOOK)

    async def _like(self, person: Person, author: str, text: str) -> None:
        assert person.session is not None
        await person.session.send(sample("like", liker_author=person.name, liked_author=author, message=text))

    def _likes_of(self, liker: str) -> list[str]:
        return [text for who, text in self.jane.likes if who == liker]

    def _texts(self, heard: list[Heard], author: str) -> list[int]:
        return [one.number for one in heard if (one.author, one.type) == (author, "text")]

    # What happens meanwhile

    async def _kill(self, process: Process) -> None:
        async with self.calm:
            session = self.jane.session
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
            if process is self.stack.fronts[0]:
                await self.jane.wait(lambda: self.jane.session is not session and self.jane.is_registered, "to be back")
            self.killed.append(process)

    async def _watch_room(self) -> None:
        while True:
            with contextlib.suppress(OSError, HTTPError):
                await self.alice.look(5000)
            await asyncio.sleep(LOOK)

    async def _watch_events(self) -> None:
        url, last = self.stack.fronts[0].url + channel_path(CHANNEL, "events"), ""
        while not self._is_over:
            self._reader = await EventsReader.open(url, *(["--header", f"Last-Event-ID: {last}"] if last else []))
            while (event := await self._reader.next()) is not None:
                last = event.id or last
                if event.type in BROADCAST:
                    self.dashboard.append(heard_in_channel(event.data))
            await self._reader.leave()
            await asyncio.sleep(LOOK)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Everybody is there."""
        room, events = (asyncio.create_task(watch) for watch in (self._watch_room(), self._watch_events()))
        try:
            await asyncio.gather(self.jane.come(), self.john.come())
            yield
        finally:
            await asyncio.gather(self.jane.leave(), self.john.leave())
            room.cancel()
            self._is_over = True
            while not events.done():  # it may be coming back just now
                if self._reader is not None:
                    await self._reader.leave()
                await asyncio.sleep(LOOK)
        events.result()

    async def run(self) -> None:
        """Everybody says everything, and hears it."""
        async with self._tasks:
            for talk in (
                self.talk(self.jane, OF_JANE),
                self.talk(self.john, OF_JOHN),
                self.talk_on_matrix(),
                self.talk_by_hook(),
            ):
                self._tasks.create_task(talk)
        # What would come twice comes before what is said from now on
        await self._alice_says("text")
        await self.talk(self.jane, ["text"])
        await until(lambda: not any(map(self.behind, self.said)), "all to be heard", every=LOOK)

    def is_drained(self) -> bool:
        keys = ChannelKeys(self.stack.settings["instance_id"], CHANNEL)
        with contextlib.suppress(RedisError):
            inboxes = [keys.inbox(lane) for lane in (Lane.LIGHT, Lane.HEAVY)]
            pending = [self._redis.client.xpending(inbox, GROUP)["pending"] for inbox in inboxes]
            return not any(pending) and not any(self._redis.client.xlen(inbox) for inbox in inboxes)
        return False


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that loses nothing when it is killed."""
    with Server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def bridged(open_bridged: OpenBridged, redis: Server) -> Iterator[Bridged]:
    hooks = f"{CHANNEL}:{KEY}:{HOOK}"
    with open_bridged(redis_url=redis.url, fronts=2, light=0, heavy=0, both=1, hooks=hooks) as bridged:
        yield bridged


async def test_everybody_hears_everything_once_whatever_is_killed(bridged: Bridged, redis: Server) -> None:
    # When forty messages are said, of all types, while each part is killed once
    play = Play(bridged, redis)
    async with play.open():
        await play.run()
    assert play.killed == [bridged.stack.fronts[0], bridged.stack.both[0], bridged.bridge, redis, bridged.synapse]
    assert sum(map(len, play.said.values())) + len(play.jane.likes) + len(play.of_bot("m.reaction")) == 41

    # Then everybody has each once, in its sender's order, and under the right name
    for author, said in play.said.items():
        for name, heard in play.receivers(author).items():
            if name == author:  # whoever repeats what is there already is shown it
                assert sorted(set(heard)) == sorted(said), name
            else:
                assert heard == said, name
    assert not (faults := play.ledger.faults()), faults
    for heard in (play.jane.heard, play.john.heard, play.dashboard, play.room):
        assert {one.author for one in heard} <= play.said.keys()
    assert play.alice.nickname not in {one.author for one in play.room}

    # And so are likes and replies
    first = play._texts(play.room, "jane")[0]
    assert sorted(play.jane.likes) == sorted([("john", "well said"), (play.alice.nickname, f"no-{first}")])
    assert [event["content"]["m.relates_to"]["key"] for event in play.of_bot("m.reaction")] == ["👍 jane"]
    assert not play.john.likes
    for number, replied in play.replies.items():
        for person in (play.jane, play.john):
            assert person.messages[number]["in_reply_to_id"] == person.messages[replied]["id"]
        if number not in play.events:
            relation = play.in_room("jane")[number]["content"]["m.relates_to"]
            assert relation == {"m.in_reply_to": {"event_id": play.events[replied]}}

    # And nothing is left
    await until(play.is_drained, "the inboxes to be empty", every=LOOK)
