"""The forms of settings' values, from bearer tokens to lists of channels, networks and origins: checks and parsers."""

import re
from ipaddress import ip_network
from typing import Any

from gischat.environment import Environment, Invalid, like, rule, within
from gischat.hook_settings import listed
from gischat.origin import Origin
from gischat.redis_url import Node, WrongUrl, check_files, parse

# The characters are those of a bearer token (RFC 6750 §2.1).
BEARER_TOKEN = like(
    r"([\w.~+/-]{16,}=*)?\Z",
    "Must have at least 16 letters, digits or -._~+/; `openssl rand -hex 32` makes a good one.",
    re.ASCII,
)
BASE_PATH = like(r"(/[\w.~-]+)*\Z", "Must begin but not end with a slash: /chat.")
INSTANCE_ID = like(
    r"[\w.-]+\Z", "May contain only letters, digits, '_', '.' and '-', as it is part of every Redis key."
)
SENTRY_DSN = like(r"(https?://[^@/\s]+@[^@/\s]+/(\S+/)?\d+)?\Z", "Must be as shown by Sentry: https://key@host/number.")
SERVER = like(r"(https?://.+)?\Z", "Must start with https:// or http://.")
WEB_ADDRESS = like(r"https?://[^\s/]+/[!-~]*\Z", "Like https://example.org/plugin.zip.")

# {z}, {x} and {y} (or {-y}, counted from the south) in any order; the host may begin with a range of letters
TILES_URL = like(
    r"""\Z|(?=\S*\{z\})(?=\S*\{x\})(?=\S*\{-?y\})(https?://(\{\w-\w\}\.)?[\w.-]+(:\d+)?|)/[^\s'"]+\Z""",
    "Must be like https://tiles.example.org/{z}/{x}/{y}.png.",
)


def traces_can_be_sent(endpoint: str) -> None:
    like(r"(https?://\S+)?\Z", "Must start with http:// or https://: https://collector:4318.")(endpoint)
    if endpoint:
        from importlib.util import find_spec

        try:
            is_installed = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
        except ModuleNotFoundError:
            is_installed = False
        rule(lambda _: is_installed, 'To send traces, pip install "gischat[otel]".')(endpoint)


def channels(env: Environment) -> Any:
    def are_names(names: list[str]) -> bool:
        return bool(names) and len(set(names)) == len(names) and all(name and name.isprintable() for name in names)

    are_right = rule(are_names, "Must be comma-separated names in UTF-8: at least one, none empty, none twice.")
    names = env.words("CHANNELS", ["QGIS", "Geotribu"], are_right)
    return names and tuple(names)


def networks(env: Environment, name: str) -> Any:
    def are_networks(words: list[str]) -> None:
        for word in words:
            try:
                ip_network(word)
            except ValueError as error:
                raise Invalid(f"Must be comma-separated addresses or networks like 10.0.0.0/8: {error}.") from None

    words = env.words(name, [], are_networks)
    return tuple(map(ip_network, words or ()))


def allowed_origins(env: Environment, name: str) -> Any:
    def are_origins(texts: list[str]) -> bool:
        return all(text == "*" or Origin.parse(text) for text in texts)

    are_right = rule(
        are_origins, "Must be comma-separated, each like https://maps.example.org:8443 without a path; or *; or null."
    )
    texts = env.words(name, [], are_right)
    return tuple(texts or ())


def channel_tokens(env: Environment, channels: tuple[str, ...] | None) -> Any:
    """(channel, token) pairs."""

    def parse(entry: str) -> tuple[str, str] | None:
        # Both parts may contain colons: the longest matching channel wins.
        for channel in sorted(channels or (), key=len, reverse=True):
            found = re.match(rf"{re.escape(channel)}\s*:\s*(.+)", entry)
            if found and found[1].isprintable():
                return channel, found[1]
        return None

    form = "Each entry must be a channel of CHANNELS, a colon and a token, separated by commas or line breaks"
    empty = "Must not be empty. Remove the setting to leave all channels open."
    return listed(env, "CHANNEL_TOKENS", parse, form, channels, if_empty=empty)


def redis_url(env: Environment) -> Any:
    host = env.text("REDIS_HOST", "127.0.0.1")
    port = env.integer("REDIS_PORT", 6379, within(1, 65535))
    return env.text("REDIS_URL", "", _is_redis_url) or f"redis://{Node(host or 'localhost', port)}/0"


def _is_redis_url(url: str) -> None:
    try:
        if url:
            check_files(parse(url))
    except WrongUrl as error:
        raise Invalid(str(error)) from None
