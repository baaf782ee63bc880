"""QGIS clients, one on Matrix, a hook and an event stream chat while each process is killed once."""

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from redis.exceptions import RedisError
from tornado.httpclient import HTTPError

from gischat.broker.keys import GROUP, ChannelKeys
from gischat.protocol.messages import Lane
from tests.bridges.conftest import Bridged
from tests.bridges.numbered import FILES, Heard, Person, fields, heard_in_channel, heard_in_room, picture
from tests.bridges.synapse import surely
from tests.support.contract import BROADCAST, Message, sample
from tests.support.events import EventsReader
from tests.support.ledger import Ledger
from tests.support.processes import Process
from tests.support.redis_servers import Server
from tests.support.rest import Rest, channel_path
from tests.support.waiting import DEADLINE, LOOK

CHANNEL = "QGIS"
HOOK, KEY = "grafana", "0123456789abcdef-of-grafana"
AHEAD = 3  # messages of a sender that not all have received, so that killed processes have messages in flight
KILL_EVERY = 6  # messages

OF_JANE = ["text", "image", "reply", "geojson", "crs", "bbox", "position", "model", "script", "text"]
OF_JOHN = ["script", "text", "position", "text", "image", "like", "model", "bbox", "geojson", "crs", "text"]
OF_ALICE = ["text", "position", "reply", "image", "geojson", "likes", "model", "script", "text", "liked"]
OF_HOOK = ["text", "text", "image", "text", "geojson", "text", "text"]


def texts(heard: list[Heard], author: str) -> list[int]:
    """The numbers of an author's texts."""
    return [one.number for one in heard if (one.author, one.type) == (author, "text")]


class Play:
    """The participants, and what they have sent and received."""

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
        self.calm = asyncio.Lock()  # no kills during a like, which only present clients receive
        self.killed: list[Process] = []
        self._is_killing = False
        self._redis = redis
        self._to_kill = [stack.fronts[0], stack.both[0], bridged.bridge, redis, bridged.synapse]
        self._tasks = asyncio.TaskGroup()
        self._reader: EventsReader | None = None
        self._is_over = False

    # Receiving

    @property
    def room(self) -> list[Heard]:
        return [heard_in_room(event["content"]) for event in self.of_bot("m.room.message")]

    def of_bot(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.alice.seen if event["sender"] == self.bot.user and event["type"] == type]

    def in_room(self, author: str) -> dict[int, dict[str, Any]]:
        """The room's events that are an author's messages, by number."""
        events = {heard_in_room(event["content"]): event for event in self.of_bot("m.room.message")}
        return {heard.number: event for heard, event in events.items() if heard.author == author}

    def receivers(self, author: str) -> dict[str, list[Heard]]:
        """What each participant, the author included, has received of an author; in the room only from the bridge."""
        everywhere = {"jane": self.jane.heard, "john": self.john.heard, "dashboard": self.dashboard}
        if author != self.alice.nickname:
            everywhere["room"] = self.room
        return {name: [one for one in heard if one.author == author] for name, heard in everywhere.items()}

    def behind(self, author: str) -> int:
        """The number of the author's messages that the slowest receiver lacks."""
        return len(self.said[author]) - min(len(set(heard)) for heard in self.receivers(author).values())

    # Sending

    async def begin(self, author: str, type: str) -> int:
        """Wait until most of the author's messages are received by all; return the number of the next one."""
        await self._until(lambda: self.behind(author) < AHEAD, f"what {author} said to be heard")
        number = sum(map(len, self.said.values())) + 1
        self.said[author].append(Heard(author, type, number))
        if number % KILL_EVERY == 0 and self._to_kill:
            self._tasks.create_task(self._kill(self._to_kill.pop(0)))
        return number

    async def talk(self, person: Person, types: list[str]) -> None:
        """Send messages of these types, two at a time."""
        for two in zip(types[::2], [*types[1::2], ""], strict=False):
            await person.send([await self._message(person, type) for type in two if type not in ("", "like")])
            if "like" in two:
                await self._like_jane()

    async def _message(self, person: Person, type: str) -> Message:
        if type != "reply":
            number = await self.begin(person.name, type)
            return sample(type, id=str(uuid.uuid4()), author=person.name, **fields(type, number))
        await self._until(lambda: texts(person.heard, self.alice.nickname), "a text to answer")
        replied = texts(person.heard, self.alice.nickname)[0]
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
            await self._until(lambda: texts(self.room, "jane"), "a text to answer")
            replied = texts(self.room, "jane")[0]
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
        """Repeat unanswered posts, as Grafana does, and `curl --retry` with a key."""
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
            await self._until(lambda: ("john", "well said") in self.jane.likes, "john's like")

    async def _alice_likes(self) -> None:
        async with self.calm:
            await self.jane.wait(lambda: self.jane.is_registered, "its nickname")
            await self._until(lambda: texts(self.room, "jane"), "a text to like")
            liked = self.in_room("jane")[texts(self.room, "jane")[0]]
            relation = {"rel_type": "m.annotation", "event_id": liked["event_id"], "key": "👍"}
            await self.alice.send_surely("m.reaction", **{"m.relates_to": relation})
            await self._until(lambda: self._likes_of(self.alice.nickname), "alice's like")

    async def _alice_is_liked(self) -> None:
        async with self.calm:
            number = await self._alice_says("text")
            await self._until(lambda: number in self.jane.messages, "a text to like")
            await self._like(self.jane, self.alice.nickname, f"no-{number}")
            await self._until(lambda: self.of_bot("m.reaction"), "jane's like")

    async def _like(self, person: Person, author: str, text: str) -> None:
        assert person.session is not None
        await person.session.send(sample("like", liker_author=person.name, liked_author=author, message=text))

    def _likes_of(self, liker: str) -> list[str]:
        return [text for who, text in self.jane.likes if who == liker]

    # Faults

    async def _until(self, holds: Callable[[], object], what: str) -> None:
        """Like `until`, but the time during kills and restarts does not count."""
        left = DEADLINE
        while not holds():
            assert left > 0, f"waited for {what}; said {self.said}, heard {[*map(self.receivers, self.said)]}"
            await asyncio.sleep(LOOK)
            left = DEADLINE if self._is_killing else left - LOOK

    async def _kill(self, process: Process) -> None:
        async with self.calm:
            session, self._is_killing = self.jane.session, True
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
            if process is self.stack.fronts[0]:
                await self.jane.wait(lambda: self.jane.session is not session and self.jane.is_registered, "to be back")
            self.killed.append(process)
            self._is_killing = False

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
        """Connect all participants within the context."""
        room, events = (asyncio.create_task(watch) for watch in (self._watch_room(), self._watch_events()))
        try:
            await asyncio.gather(self.jane.come(), self.john.come())
            yield
        finally:
            await asyncio.gather(self.jane.leave(), self.john.leave())
            room.cancel()
            self._is_over = True
            while not events.done():  # it may be reconnecting
                if self._reader is not None:
                    await self._reader.leave()
                await asyncio.sleep(LOOK)
        events.result()

    async def run(self) -> None:
        """Let all participants send everything, and wait until all have received it."""
        async with self._tasks:
            for talk in (
                self.talk(self.jane, OF_JANE),
                self.talk(self.john, OF_JOHN),
                self.talk_on_matrix(),
                self.talk_by_hook(),
            ):
                self._tasks.create_task(talk)
        # Duplicates would arrive before the messages that follow
        await self._alice_says("text")
        await self.talk(self.jane, ["text"])
        await self._until(lambda: not any(map(self.behind, self.said)), "all to be heard")

    def is_drained(self) -> bool:
        keys = ChannelKeys(self.stack.settings["instance_id"], CHANNEL)
        with contextlib.suppress(RedisError):
            inboxes = [keys.inbox(lane) for lane in (Lane.LIGHT, Lane.HEAVY)]
            pending = [self._redis.client.xpending(inbox, GROUP)["pending"] for inbox in inboxes]
            return not any(pending) and not any(self._redis.client.xlen(inbox) for inbox in inboxes)
        return False
