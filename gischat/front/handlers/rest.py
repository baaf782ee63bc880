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
}  # for all other reasons, the request may be repeated later
NOBODY_IS_REGISTERED = (
    "Here only registered nicknames may write, and nobody is registered over HTTP. A bot writes over the websocket, "
    "after a newcomer, or into a private channel, with its token."
)
NOT_PUBLISHED_YET = (
    "The message is not published yet, and may be soon: sent again with the same id, it is published once."
)
READ_COST = 0.1  # requests that a read counts as: QGIS reads the list of users after every `nb_users`


class JsonHandler(Handler):
    """The base of handlers that answer JSON; errors are `{"detail": …}`."""

    COST = 1.0  # the number of requests that a request counts as, for the address' limit
    IS_QUIET = False  # whether successful requests are logged at DEBUG

    def initialize(self, front: Services) -> None:
        self.front = front
        self.settings_ = front.settings

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        # GET and HEAD change nothing, so any page may send them; the browser keeps the answer from a foreign page.
        if self.request.method not in ("GET", "HEAD") and not self.front.origins.admit(self.request):
            raise HTTPError(403, FOREIGN_ORIGIN)

    def head(self, *args: str) -> Any:
        return self.get(*args)

    async def answer_from(self, cached: CachedAnswer) -> None:
        """Answer from a cache."""
        self.answer_with(await self.redis(cached.get()))

    def answer_with(self, answer: CachedBody) -> None:
        if not self.is_known(answer.etag):
            self.answer_json(answer.body)

    def is_known(self, etag: str) -> bool:
        """Set the Etag; if the client has that version, answer 304 and return True (RFC 9110 §13.1.2)."""
        self.set_header("Etag", etag)
        if not self.check_etag_header():
            return False
        self.set_status(HTTPStatus.NOT_MODIFIED)
        self.finish()
        return True

    async def redis(self, reading: Awaitable[T]) -> T:
        """Await a read from Redis; answers 503 if it fails."""
        try:
            return await reading
        except (Unavailable, RedisError):
            raise HTTPError(503, TOO_BUSY) from None


class PublicHandler(JsonHandler):
    """Also answers pages of other sites that `ALLOWED_ORIGINS` names (CORS)."""

    METHOD = "GET"

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # Tornado calls this before `initialize`, so `self.front` does not exist yet.
        for name, value in self.application.settings["origins"].headers(self.request).items():
            self.set_header(name, value)

    def options(self, *_: str) -> None:
        """Answer a preflight request, which a browser sends before all but simple GETs (https://fetch.spec.whatwg.org)."""
        self.set_header("Allow", allowed_methods(type(self)))
        self.set_header("Access-Control-Allow-Methods", self.METHOD)
        self.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID")
        self.set_header("Access-Control-Max-Age", round(self.front.timings.preflight))
        self.clear_header("Content-Type")
        self.set_status(204)


class ChannelHandler(PublicHandler):
    """The base of handlers for one channel; the path's first argument is its name."""

    channel: str

    def prepare(self) -> None:
        super().prepare()
        self.channel = self.path_args[0]
        # Not raised: HTTPError formats its text, and a channel's name may contain a per cent sign.
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
    """`/qfield`: redirects QField, which opens it from a QR code, to the plugin to install."""

    def get(self) -> None:
        self.redirect(self.settings_.qfield_plugin_url, status=302)


class Alive(JsonHandler):
    """`/livez`: answers as long as the event loop runs."""

    def get(self) -> None:
        self.answer({"alive": True})


class Ready(JsonHandler):
    """`/readyz`: whether messages are delivered and new clients accepted."""

    async def get(self) -> None:
        if reasons := self.front.reasons_not_ready():
            self.front.status.invalidate()  # the cached status may be older
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
        except (Unavailable, Uncompliant) as error:
            refuse_message(self, error)
            return
        sender = self.front.channel_auth.sender(self.channel, self.request, message.author)
        client = address_key(self.address)
        result = await self.front.publisher.publish(self.channel, message, client=client, sender=sender)
        if result is None:
            raise HTTPError(504, NOT_PUBLISHED_YET)
        if result.is_refusal:
            status = REFUSAL_STATUS.get(result.refusal_reason, 503)
            raise HTTPError(status, msgspec.json.decode(result.body)["reason"])
        # A duplicate is no error: the answer is the message published before.
        self.answer_json(result.body or bytes(message.body))


def details(error: Uncompliant) -> list[dict[str, Any]]:
    """The errors of a body, field by field."""
    if not error.fields:
        return [{"loc": ["body"], "msg": error.reason, "type": "json_invalid"}]
    return [
        {"loc": ["body", name], "msg": reason, "type": "missing" if reason == "Missing." else "value_error"}
        for name, reason in error.fields.items()
    ]


def refuse(handler: Handler, refusal: Rejection) -> None:
    """Answer a request or connection that exceeds a limit (RFC 6585 §4)."""
    mark_rejected(handler)
    handler.set_header("Retry-After", refusal.retry_after)
    handler.answer({"detail": refusal.reason}, refusal.status)


def refuse_message(handler: JsonHandler, error: Unavailable | Uncompliant) -> None:
    """Answer a message that is not accepted, and count it."""
    handler.front.dispatcher.counters.count_refusal(error.cause, "text")
    if isinstance(error, RateLimitExceeded):
        refuse(handler, Rejection(HTTPStatus.TOO_MANY_REQUESTS, error.reason, error.seconds))
    elif isinstance(error, Unavailable):
        handler.answer({"detail": error.reason}, 403)
    else:
        handler.answer({"detail": details(error)}, 422)


class TooManyRequests(JsonHandler):
    """Refuses a request above the address' limit, whatever its path."""

    def initialize(self, front: Services, refusal: Rejection) -> None:  # type: ignore[override]  # Tornado's way
        super().initialize(front)
        self._refusal = refusal

    def prepare(self) -> None:
        refuse(self, self._refusal)


class NotFound(JsonHandler):
    def prepare(self) -> None:
        self.answer({"detail": "Not Found"}, 404)


class Moved(Handler, RedirectHandler):
    """Redirects a browser to the page."""


class Page(Handler, StaticFileHandler):
    """The web client and its assets."""

    CONTENT_SECURITY_POLICY = FOR_OUR_PAGE

    def initialize(self, *, images: str = "", **options: Any) -> None:  # type: ignore[override]  # Tornado's way
        """Create the handler; `images` is a source of images besides our own."""
        super().initialize(**options)
        if images:
            policy = self.CONTENT_SECURITY_POLICY.replace("img-src ", f"img-src {images} ")
            self.set_header("Content-Security-Policy", policy)

    def parse_url_path(self, url_path: str) -> str:
        if not url_path.isprintable():
            raise HTTPError(404)
        return super().parse_url_path(url_path)

    def set_extra_headers(self, path: str) -> None:
        # Revalidated on each use, and answered 304 if unchanged, so that a new version is used at once.
        self.set_header("Cache-Control", "no-cache")
        if path == "sw.js":
            self.set_header("Service-Worker-Allowed", "/")  # otherwise its scope would be /web/ only
