"""What is answered below `/k/<key>/` in the place of what was asked for; see `gischat.front.auth.access_keys`."""

from http import HTTPStatus

from gischat.front.auth.access_keys import PREFIX, shown_key
from gischat.front.auth.channel_auth import INVALID_TOKEN, WRONG_KEY
from gischat.front.handlers.base import Handler
from gischat.front.handlers.rest import PublicHandler
from gischat.front.limits.connection_limit import Rejection
from gischat.front.limits.rate_limit import wait_advice

TOO_MANY_WRONG_KEYS = f"{WRONG_KEY} Too many wrong ones came from your network address."


def too_many_wrong_keys(seconds: int) -> Rejection:
    """The answer to one more, for so long."""
    return Rejection(HTTPStatus.TOO_MANY_REQUESTS, f"{TOO_MANY_WRONG_KEYS} {wait_advice(seconds)}", seconds)


class WrongKey(PublicHandler):
    """The address has a key that opens nothing: nobody is let in by it, to what is public neither. Else a client would
    list the public channels, and its user would look for what is missing."""

    def prepare(self) -> None:
        self.set_header("WWW-Authenticate", INVALID_TOKEN)
        self.answer({"detail": WRONG_KEY}, 401)


class KeyedPage(Handler):
    """Sends a browser on to the page, with the key behind the #, which no server sees: so the page's own files, its
    worker and what the browser caches have addresses without a key. The page takes it out of the address bar."""

    def initialize(self, ups: int) -> None:
        self._ups = ups

    def get(self) -> None:
        shown = shown_key(self.request)
        assert shown is not None
        self.set_header("Cache-Control", "no-store")
        # Relative: a proxy may have stripped a path that stood before.
        self.redirect(f"{'../' * self._ups}#key={shown.secret}", status=302)

    head = get


def ups_from(path: str) -> int:
    """How many folders an address with a key lies below the page's own, whatever number of slashes it has."""
    return path[path.rindex(PREFIX) :].count("/") - 1
