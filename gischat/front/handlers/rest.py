"""The REST endpoints."""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from tornado.web import HTTPError, RedirectHandler, StaticFileHandler

from gischat import __version__
from gischat.broker.client import TOO_BUSY
from gischat.broker.resp_errors import RedisError
from gischat.errors import RefusalReason, Unavailable, Uncompliant
from gischat.front.auth.access_keys import key_of
from gischat.front.auth.client_address import address_key
from gischat.front.auth.origins import FOREIGN_ORIGIN
from gischat.front.channel.cache import CachedAnswer, CachedBody
from gischat.front.handlers.access_log import mark_rejected
from gischat.front.handlers.base import FOR_OUR_PAGE, Handler, allowed_methods
from gischat.front.limits.connection_limit import Rejection
from gischat.front.limits.rate_limit import RateLimitExceeded
from gischat.front.services import Services

T = TypeVar("T")

REFUSAL_STATUS = {
    RefusalReason.DUPLICATE_ID: 409,
    RefusalReason.NOT_REGISTERED: 403,
    RefusalReason.FROZEN: 403,
}  # all else may be tried again
NOBODY_IS_REGISTERED = (
    "Here only registered nicknames may write, and nobody is registered over HTTP. A bot writes over the websocket, "
    "after a newcomer, or into a private channel, with its token."
)
NOT_PUBLISHED_YET = (
    "The message is not published yet, and may be soon: sent again with the same id, it is published once."
)
READ_COST = 0.1  # of a request, towards an address' limit: QGIS asks for the list of users at every `nb_users`


class JsonHandler(Handler):
    """Answers JSON; errors are `{"detail": …}`."""

    COST = 1.0  # of requests, towards an address' limit
    IS_QUIET = False  # answers that are no errors are logged at debug

    def initialize(self, front: Services) -> None:
        self.front = front
        self.settings_ = front.settings

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        # What changes nothing may be asked for: it is the browser that keeps the answer from a page.
        if self.request.method not in ("GET", "HEAD") and not self.front.origins.admit(self.request):
            raise HTTPError(403, FOREIGN_ORIGIN)

    def head(self, *args: str) -> Any:
        return self.get(*args)

    async def answer_from(self, cached: CachedAnswer) -> None:
        """Answers what many ask for."""
        self.answer_with(await self.redis(cached.get()))

    def answer_with(self, answer: CachedBody) -> None:
        if not self.is_known(answer.etag):
            self.answer_json(answer.body)

    def is_known(self, etag: str) -> bool:
        """Whether the client has what has this tag, and is told so (RFC 9110 §13.1.2)."""
        self.set_header("Etag", etag)
        if not self.check_etag_header():
            return False
        self.set_status(HTTPStatus.NOT_MODIFIED)
        self.finish()
        return True

    async def redis(self, reading: Awaitable[T]) -> T:
        """What is read from Redis; 503 while that cannot be."""
        try:
            return await reading
        except (Unavailable, RedisError):
            raise HTTPError(503, TOO_BUSY) from None


class PublicHandler(JsonHandler):
    """Answers pages of other sites too, where `ALLOWED_ORIGINS` names them (CORS)."""

    METHOD = "GET"

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # Called before there is a front here.
        for name, value in self.application.settings["origins"].headers(self.request).items():
            self.set_header(name, value)

    def options(self, *_: str) -> None:
        """A browser asks before it sends what is more than a plain GET (https://fetch.spec.whatwg.org)."""
        self.set_header("Allow", allowed_methods(type(self)))
        self.set_header("Access-Control-Allow-Methods", self.METHOD)
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
        self.set_header("Access-Control-Max-Age", round(self.front.timings.preflight))
        self.clear_header("Content-Type")
        self.set_status(204)


class ChannelHandler(PublicHandler):
    """An endpoint of one channel: its name is the path's first argument."""

    channel: str

    def prepare(self) -> None:
        super().prepare()
        self.channel = self.path_args[0]
        # Answered here, not raised: HTTPError formats its text, and a name may hold a per cent sign.
        if self.channel not in self.front.rooms:
            self.answer({"detail": f"Channel '{self.channel}' not registered"}, 404)
        elif (ban := self.front.rooms[self.channel].bans.of_address(self.address)) is not None:
            self.answer({"detail": ban.user_message}, 403)
        elif self.request.method != "OPTIONS" and (
            denial := self.front.channel_auth.denial(self.channel, self.request)
        ):
            self.set_header("WWW-Authenticate", denial.challenge)
            self.answer({"detail": denial.reason}, 401)


class Version(PublicHandler):
    def get(self) -> None:
        self.answer({"version": __version__})


class Channels(PublicHandler):
    def get(self) -> None:
        self.answer(self.front.channel_auth.listed(self.settings_.channels, self.request))


class Rules(PublicHandler):
    NAMES = (
        "rules",
        "main_lang",
        "min_author_length",
        "max_author_length",
        "max_message_length",
        "max_image_size",
        "max_geojson_features",
    )

    def get(self) -> None:
        self.answer({name: getattr(self.settings_, name) for name in self.NAMES})


class Status(PublicHandler):
    COST = READ_COST
    IS_QUIET = True

    async def get(self) -> None:
        if key_of(self.request) is None:
            await self.answer_from(self.front.status)
            return
        status = msgspec.json.decode((await self.redis(self.front.status.get())).body)
        listed = self.front.channel_auth.listed(self.settings_.channels, self.request)
        status["channels"] = [one for one in status["channels"] if one["name"] in listed]
        self.answer(status)


class QField(PublicHandler):
    """`/qfield`: a phone that scans it gets what QField installs a plugin from."""

    def get(self) -> None:
        self.redirect(self.settings_.qfield_plugin_url, status=302)


class Alive(JsonHandler):
    """`/livez`: the loop turns."""

    def get(self) -> None:
        self.answer({"alive": True})


class Ready(JsonHandler):
    """`/readyz`: messages go round, and new clients are welcome."""

    async def get(self) -> None:
        if reasons := self.front.reasons_not_ready():
            self.front.status.invalidate()  # what is kept of it may be from before
        else:
            await self.front.look_for_degradations()
        self.answer({"ready": not reasons, "reasons": reasons + self.front.degradations()}, 503 if reasons else 200)


class Users(ChannelHandler):
    COST = READ_COST
    IS_QUIET = True

    async def get(self, _: str) -> None:
        await self.answer_from(self.front.rooms[self.channel].answers.users)


class Last(ChannelHandler):
    async def get(self, _: str) -> None:
        await self.answer_from(self.front.rooms[self.channel].answers.last)


class PutText(ChannelHandler):
    METHOD = "PUT"

    async def put(self, _: str) -> None:
        if self.settings_.require_registration and not self.front.channel_auth.is_private(self.channel):
            self.front.dispatcher.counters.count_refusal(RefusalReason.NOT_REGISTERED, "text")
            raise HTTPError(403, NOBODY_IS_REGISTERED)
        try:
            self.front.connection_limiter.check_message(self.address, len(self.request.body))
            message = self.front.messages.parse(self.request.body, type="text")
            self.front.rooms[self.channel].bans.check(message)
        except RateLimitExceeded as error:
            self.front.dispatcher.counters.count_refusal(error.cause, "text")
            refuse(self, Rejection(HTTPStatus.TOO_MANY_REQUESTS, error.reason, error.seconds))
            return
        except Unavailable as refusal:
            self.front.dispatcher.counters.count_refusal(refusal.cause, "text")
            self.answer({"detail": refusal.reason}, 403)
            return
        except Uncompliant as error:
            self.front.dispatcher.counters.count_refusal(error.cause, "text")
            self.answer({"detail": details(error)}, 422)
            return
        sender = self.front.channel_auth.sender(self.channel, self.request, message.author)
        client = address_key(self.address)
        ending = await self.front.publisher.publish(self.channel, message, client=client, sender=sender)
        if ending is None:
            raise HTTPError(504, NOT_PUBLISHED_YET)
        if ending.is_refusal:
            status = REFUSAL_STATUS.get(ending.refusal_reason, 503)
            raise HTTPError(status, msgspec.json.decode(ending.body)["reason"])
        # A repeated id is published no second time; asking for it again is no error, and told what was published.
        self.answer_json(ending.body or bytes(message.body))


def details(error: Uncompliant) -> list[dict[str, Any]]:
    """The faults of a body, one by one."""
    if not error.fields:
        return [{"loc": ["body"], "msg": error.reason, "type": "json_invalid"}]
    return [
        {"loc": ["body", name], "msg": reason, "type": "missing" if reason == "Missing." else "value_error"}
        for name, reason in error.fields.items()
    ]


def refuse(handler: Handler, refusal: Rejection) -> None:
    """Answers a request that is one too many, or a connection for which there is no place (RFC 6585 §4)."""
    mark_rejected(handler)
    handler.set_header("Retry-After", refusal.retry_after)
    handler.answer({"detail": refusal.reason}, refusal.status)


class TooManyRequests(JsonHandler):
    """Answers in the place of whatever was asked for."""

    def initialize(self, front: Services, refusal: Rejection) -> None:  # type: ignore[override]  # Tornado's way
        super().initialize(front)
        self._refusal = refusal

    def prepare(self) -> None:
        refuse(self, self._refusal)


class NotFound(JsonHandler):
    def prepare(self) -> None:
        self.answer({"detail": "Not Found"}, 404)


class Moved(Handler, RedirectHandler):
    """Sends a browser on to where the page is."""


class Page(Handler, StaticFileHandler):
    """The web client and its assets."""

    CONTENT_SECURITY_POLICY = FOR_OUR_PAGE

    def initialize(self, *, images: str = "", **options: Any) -> None:  # type: ignore[override]  # Tornado's way
        """`images` is a source of images besides our own."""
        super().initialize(**options)
        if images:
            policy = self.CONTENT_SECURITY_POLICY.replace("img-src ", f"img-src {images} ")
            self.set_header("Content-Security-Policy", policy)

    def parse_url_path(self, url_path: str) -> str:
        if not url_path.isprintable():
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    def set_extra_headers(self, path: str) -> None:
        # Asked for again each time, answered 304 while it is the same: a new version is seen at once.
        self.set_header("Cache-Control", "no-cache")
        if path == "sw.js":
            self.set_header("Service-Worker-Allowed", "/")  # else it may answer for what is below /web/ alone
