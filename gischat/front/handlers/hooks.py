"""`/hooks/{key}`: incoming hooks, by which other programs post messages to a channel."""

import asyncio
import logging
from typing import Any

import msgspec
from tornado.web import HTTPError, stream_request_body

from gischat.errors import RefusalReason, Unavailable, Uncompliant
from gischat.front.auth.client_address import address_key
from gischat.front.handlers.rest import REFUSAL_STATUS, JsonHandler, refuse, refuse_message
from gischat.front.limits.rate_limit import UNIT_BYTES
from gischat.hook_settings import Hook
from gischat.hooks.incoming import decode, messages_of
from gischat.protocol.messages import Message

log = logging.getLogger(__name__)

UNKNOWN = "There is no hook with this key. Ask the people who run the chat for the right address."
TOO_LARGE = "This is too large: at most {:.0f} MB can be posted here. Nothing of it was sent."
MAX_TEXT_BODY = 2**22  # bytes of a body without files: GitHub lists every file of a push
DROPPED = 8  # times the largest body are read and dropped, so that the sender gets the reason; longer ones are aborted

STATUS = REFUSAL_STATUS | {RefusalReason.UNPROCESSABLE: 422}


@stream_request_body
class PostToHook(JsonHandler):
    """Validates the messages of a post, enqueues them, and answers when all are published.

    If that takes more than some seconds, the answer is 202, because all are enqueued, and posted again they would be
    published twice. A key is equivalent to a token: it opens a private channel, and no nickname has to be registered.
    """

    def initialize(self, front: Any) -> None:
        super().initialize(front)
        self._chunks: list[bytes] = []
        self._size = 0
        is_form = self.request.headers.get("Content-Type", "").lower().startswith("multipart/")
        self._max_size = front.settings.max_frame_size if is_form else MAX_TEXT_BODY

    def prepare(self) -> None:
        super().prepare()
        hook = self.front.hooks.find(self.path_args[0])
        if hook is None:
            raise HTTPError(404, UNKNOWN)
        self._hook = hook
        if (ban := self.front.rooms[hook.channel].bans.of_address(self.address)) is not None:
            self.answer({"detail": ban.user_message}, 403)
            return
        if (rejection := self.front.hooks.acquire(hook)) is not None:
            self._count(RefusalReason.HOOK_RATE_LIMIT)
            refuse(self, rejection)
            return
        connection: Any = self.request.connection
        connection.set_max_body_size(DROPPED * self.settings_.max_frame_size)
        connection.set_body_timeout(self.front.timings.hook_body)
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > self._max_size:
            self._refuse_size()

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= self._max_size:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._chunks.clear()  # now: the rest of a refused body may take long, and the connection keeps the handler

    def _refuse_size(self) -> None:
        self._count(RefusalReason.TOO_LARGE)
        self.answer({"detail": TOO_LARGE.format(self._max_size / 1e6)}, 413)

    async def post(self, _: str) -> None:
        if self._size > self._max_size:  # no Content-Length
            self._refuse_size()
            return
        self.front.hooks.charge(self._hook, self._size // UNIT_BYTES)  # valid or not, parsing takes time
        try:
            messages = self._messages(self._hook)
        except (Unavailable, Uncompliant) as error:
            refuse_message(self, error)
            return
        self.front.hooks.charge(self._hook, len(messages) - 1)
        hook, client = self._hook, address_key(self.address)
        publishing = asyncio.create_task(
            self.front.publisher.publish_all(
                hook.channel, messages, client=client, sender=f"hook/{hook.name}", in_order=True
            )
        )
        publishing.add_done_callback(self.front.publisher.in_background.discard)
        self.front.publisher.in_background.add(publishing)
        await asyncio.wait([publishing], timeout=self.front.timings.hook)
        answered = {"ok": True, "ids": [message.id for message in messages]}  # Slack's clients check "ok"
        if not publishing.done():
            publishing.add_done_callback(self._log_late)
            self.answer(answered, 202)
        elif refusals := [result for result in publishing.result() if result.is_refusal]:
            self._refuse(refusals[0], len(messages) - len(refusals))
        else:
            self.answer(answered)

    def _messages(self, hook: Hook) -> list[Message]:
        """Parse and validate the posted messages."""
        body = b"".join(self._chunks)
        self._chunks.clear()
        self.front.connection_limiter.check_message(self.address, len(body))
        made = messages_of(
            self.request.headers,
            decode(self.request.headers.get("Content-Type", ""), body),
            name=hook.name,
            longest=self.settings_.max_message_length,
            delivery_scope=f"{self.settings_.instance_id}/{hook.channel}/{hook.name}",
        )
        messages = [self.front.messages.parse(msgspec.json.encode(one), type=one["type"]) for one in made]
        for message in messages:
            self.front.rooms[hook.channel].bans.check(message)
        return messages

    def _refuse(self, result: Any, published: int) -> None:
        reason = msgspec.json.decode(result.body)["reason"]
        rest = f" {published} of its messages were published." if published else ""
        self.answer({"detail": reason + rest}, STATUS.get(result.refusal_reason, 503))

    def _log_late(self, publishing: "asyncio.Task[Any]") -> None:
        """Log messages that were refused after the answer: the sender believes that they are published."""
        causes = {str(result.refusal_reason) for result in publishing.result() if result.is_refusal}
        if causes:
            extra = {"channel": self._hook.channel, "hook": self._hook.name}
            log.warning(
                "messages of a hook were refused after they had been accepted: %s", ", ".join(causes), extra=extra
            )

    def _count(self, cause: RefusalReason) -> None:
        self.front.dispatcher.counters.count_refusal(cause, "text")
