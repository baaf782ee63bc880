"""Handlers for URLs with a key, `/k/<key>/`, in place of the usual ones; see `gischat.front.auth.access_keys`."""

from http import HTTPStatus

from gischat.front.auth.access_keys import PREFIX, shown_key
from gischat.front.auth.channel_auth import INVALID_TOKEN, WRONG_KEY
from gischat.front.handlers.base import Handler
from gischat.front.handlers.rest import PublicHandler
from gischat.front.limits.connection_limit import Rejection
from gischat.front.limits.rate_limit import wait_advice

TOO_MANY_WRONG_KEYS = f"{WRONG_KEY} Too many wrong ones came from your network address."


def too_many_wrong_keys(seconds: int) -> Rejection:
    """The answer to requests with a key, from an address that is locked out for `seconds`."""
    return Rejection(HTTPStatus.TOO_MANY_REQUESTS, f"{TOO_MANY_WRONG_KEYS} {wait_advice(seconds)}", seconds)


class WrongKey(PublicHandler):
    """Refuses requests with an invalid key, also for public resources: otherwise a client would list the public
    channels, and its user would look for the private ones."""

    def prepare(self) -> None:
        self.set_header("WWW-Authenticate", INVALID_TOKEN)
        self.answer({"detail": WRONG_KEY}, 401)


class KeyedPage(Handler):
    """Redirects a browser to the page, with the key in the fragment (#), which is not sent to servers. So the URLs of
    the page's files, its worker and the browser's cache contain no key. The page removes it from the address bar."""

    def initialize(self, ups: int) -> None:
        self._ups = ups

    def get(self) -> None:
        shown = shown_key(self.request)
        assert shown is not None
        self.set_header("Cache-Control", "no-store")
        # Relative, because a proxy may have removed a prefix of the path.
        self.redirect(f"{'../' * self._ups}#key={shown.secret}", status=302)

    head = get


def ups_from(path: str) -> int:
    """The number of path segments from a URL with a key up to the page, however many slashes it contains."""
    return path[path.rindex(PREFIX) :].count("/") - 1
