"""The environment, parsed once into a frozen object.

Nothing else reads the environment: whoever needs a setting is handed the `Settings`. Defaults stand here and nowhere
else. Every variable may also be given as a file, `REDIS_URL_FILE=/run/secrets/redis` (as container secrets come).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from gischat import redis_url
from gischat.bridge_settings import TelegramChat
from gischat.bridge_settings import contradictions as bridge_contradictions
from gischat.bridge_settings import read as read_bridges
from gischat.environment import Environment, Invalid, like, one_of, rule, within
from gischat.origin import Origin
from gischat.protocol.types import LANES, Lane
from gischat.redis_url import Node

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "text")

# A HOST that stands for all addresses of the machine, and one of them to reach it by.
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}

WRONG_SETTINGS = 78  # the exit status (EX_CONFIG of sysexits.h): starting again does not help


class SettingsError(Exception):
    """Some settings are wrong; `str()` names each one, a line apiece."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        super().__init__("\n".join(f"{name}: {reason}" for name, reason in wrong.items()))
        self.wrong = dict(wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One instance's settings; a field is the lower-case name of its variable. Documented in docs/settings.md."""

    # What people see
    channels: tuple[str, ...]
    rules: str
    main_lang: str
    map_tiles_url: str  # empty: the map's own land and borders are all that there is
    map_attribution: str
    # Limits of the contract; lengths are characters, sizes of pictures pixels
    min_author_length: int
    max_author_length: int
    max_message_length: int
    max_image_size: int
    max_image_raw_length: int
    max_image_pixels: int
    max_model_raw_length: int
    max_script_raw_length: int
    max_geojson_features: int
    max_stored_messages: int
    max_stored_bytes: int
    # Where we are
    instance_id: str
    environment: str
    redis_url: str = field(repr=False)  # as all that is secret
    host: str
    port: int
    base_path: str  # before every path; empty, or as /chat
    log_level: str
    log_format: str
    process_name: str
    sentry_dsn: str = field(repr=False)
    sentry_traces_sample_rate: float
    otel_exporter_otlp_endpoint: str  # empty: messages are not traced
    # Who may speak for others
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    # Who may come
    allowed_origins: tuple[str, ...]  # of pages of other sites; `*` is all
    channel_tokens: tuple[tuple[str, str], ...] = field(repr=False)  # channel, token; a channel may have several
    require_registration: bool
    # What is counted
    metrics_token: str = field(repr=False)  # empty: this machine alone may read
    metrics_port: int  # of workers; 0: none
    prometheus_multiproc_dir: str
    # All clients of one front; of connections, 0 is no limit
    max_connections: int
    max_pending_connections: int
    max_front_bytes: int
    handshake_seconds: float
    # All clients of one address, on one front; 0 is no limit
    max_connections_per_address: int
    max_address_messages_per_minute: int
    max_address_requests_per_minute: int
    # Moderation
    admin_token: str = field(repr=False)  # empty: nobody moderates
    admin_author: str  # in whose name announcements are made
    admin_url: str  # where `gischat admin` asks; empty: the front of this machine
    # One client
    ws_ping_interval: float  # seconds; 0: no pings
    ws_ping_timeout: float  # seconds without a sign of life after a ping; 0: as long as the interval
    max_frame_size: int  # bytes
    max_waiting_messages: int
    max_waiting_bytes: int
    max_unread_bytes: int
    max_messages_per_minute: int  # 0: no limit
    max_heavy_per_minute: int  # images and layers; 0: no limit
    # One channel's streams
    max_inbox_messages: int
    max_inbox_bytes: int
    max_outbox_messages: int
    max_outbox_bytes: int
    max_outbox_age: int  # seconds
    # One job of the heavy lane
    job_seconds: float  # of processor time; by the clock, see `worker.sandbox`
    job_memory: int  # bytes of address space
    # Bridges to other chats
    matrix_bridges: tuple[tuple[str, str], ...]  # channel, room; each at most once
    matrix_homeserver: str
    matrix_token: str = field(repr=False)
    matrix_notices: bool  # who joins and leaves a channel is told
    matrix_ping_message_prefix: str
    matrix_ping_homeserver: str
    matrix_ping_roomid: str
    matrix_ping_token: str = field(repr=False)
    telegram_bridges: tuple[tuple[str, TelegramChat], ...]  # by channel; each at most once
    telegram_token: str = field(repr=False)
    telegram_api: str
    telegram_notices: bool  # who joins and leaves a channel is told
    # What the supervisor runs
    bridges: int  # 0 or 1
    fronts: int
    workers: tuple[int, ...]  # of each lane: see `workers_of`
    state_dir: str

    def workers_of(self, lane: Lane) -> int:
        return self.workers[LANES.index(lane)]

    @property
    def max_body_size(self) -> int:
        """Bytes of a request's body: a text, each character as two escaped surrogates, and what stands around it."""
        return 2**19 + 12 * self.max_message_length


def load(file: Path | None = None) -> Settings:
    """Reads the process' environment.

    Args:
        file: one like .env, which completes the environment, if it is there.

    Raises:
        SettingsError: one or more variables are wrong; all of them are named.
    """
    env = Environment(file)
    values = _read(env)
    wrong = env.wrong
    wrong |= _contradictions(values, wrong)
    if wrong:
        raise SettingsError(wrong)
    return Settings(**values)


def variables() -> list[str]:
    """The names of all variables that are read, for the documentation and the test that holds it to this."""
    others = {lane.setting for lane in LANES} | {"REDIS_HOST", "REDIS_PORT", "NB_UVICORN_WORKERS"}
    return sorted({one.name.upper() for one in fields(Settings) if one.name != "workers"} | others)


def _read(env: Environment) -> dict[str, Any]:
    def count(name: str, default: int, least: int = 1) -> Any:
        return env.integer(name, default, within(least))

    def seconds(name: str, default: float, least: float = 0.1) -> Any:
        return env.number(name, default, within(least))

    channels = _channels(env)
    return {
        "channels": channels,
        "rules": env.text("RULES", "Be kind."),
        "main_lang": env.text("MAIN_LANG", "en"),
        "map_tiles_url": env.text("MAP_TILES_URL", "", like(_TILES_URL, _TILES_URL_FORM)),
        "map_attribution": env.text("MAP_ATTRIBUTION", ""),
        "min_author_length": count("MIN_AUTHOR_LENGTH", 3),
        "max_author_length": count("MAX_AUTHOR_LENGTH", 32),
        "max_message_length": count("MAX_MESSAGE_LENGTH", 255),
        "max_image_size": count("MAX_IMAGE_SIZE", 800),
        "max_image_raw_length": count("MAX_IMAGE_RAW_LENGTH", 12_000_000),
        "max_image_pixels": count("MAX_IMAGE_PIXELS", 64_000_000),
        "max_model_raw_length": count("MAX_MODEL_RAW_LENGTH", 1_000_000),
        "max_script_raw_length": count("MAX_SCRIPT_RAW_LENGTH", 2_000_000),
        "max_geojson_features": count("MAX_GEOJSON_FEATURES", 500),
        "max_stored_messages": count("MAX_STORED_MESSAGES", 5, least=0),
        "max_stored_bytes": count("MAX_STORED_BYTES", 8 * 2**20),
        "instance_id": env.text("INSTANCE_ID", "gischat", like(r"[\w.-]+\Z", _INSTANCE_ID)),
        "environment": env.text("ENVIRONMENT", "production"),
        "redis_url": _redis_url(env),
        "host": env.text("HOST", "0.0.0.0"),
        "port": env.integer("PORT", 8000, within(0, 65535)),
        "base_path": env.text("BASE_PATH", "", like(r"(/[\w.~-]+)*\Z", "Begins with a slash and ends in none: /chat.")),
        "log_level": env.text("LOG_LEVEL", "info", one_of(LOG_LEVELS)),
        "log_format": env.text("LOG_FORMAT", "auto", one_of(LOG_FORMATS)),
        # What supervisord calls a process, it tells it
        "process_name": env.text("PROCESS_NAME", env.text("SUPERVISOR_PROCESS_NAME", "")),
        "sentry_dsn": env.text("SENTRY_DSN", "", rule(_SENTRY_DSN.match, _SENTRY_DSN_FORM)),
        "sentry_traces_sample_rate": env.number("SENTRY_TRACES_SAMPLE_RATE", 0.0, within(0, 1)),
        "otel_exporter_otlp_endpoint": env.text("OTEL_EXPORTER_OTLP_ENDPOINT", "", _traces_can_be_sent),
        "trusted_proxies": _networks(env, "TRUSTED_PROXIES"),
        "allowed_origins": _allowed_origins(env),
        "channel_tokens": _channel_tokens(env, channels),
        "require_registration": env.switch("REQUIRE_REGISTRATION", False),
        "metrics_token": env.text("METRICS_TOKEN", "", _BEARER_TOKEN),
        "metrics_port": env.integer("METRICS_PORT", 0, within(0, 65535)),
        "prometheus_multiproc_dir": env.text("PROMETHEUS_MULTIPROC_DIR", ""),
        "max_connections": count("MAX_CONNECTIONS", 10_000, least=0),
        "max_pending_connections": count("MAX_PENDING_CONNECTIONS", 1000, least=0),
        "max_front_bytes": count("MAX_FRONT_BYTES", 256 * 2**20, least=2**20),
        "handshake_seconds": seconds("HANDSHAKE_SECONDS", 10),
        "max_connections_per_address": count("MAX_CONNECTIONS_PER_ADDRESS", 2000, least=0),
        "max_address_messages_per_minute": count("MAX_ADDRESS_MESSAGES_PER_MINUTE", 12_000, least=0),
        "max_address_requests_per_minute": count("MAX_ADDRESS_REQUESTS_PER_MINUTE", 6000, least=0),
        "admin_token": env.text("ADMIN_TOKEN", "", _BEARER_TOKEN),
        "admin_author": env.text("ADMIN_AUTHOR", "gischat"),
        "admin_url": env.text("ADMIN_URL", "", like(r"(https?://.+)?\Z", "Starts with https:// or http://.")),
        "ws_ping_interval": seconds("WS_PING_INTERVAL", 20, least=0),
        "ws_ping_timeout": seconds("WS_PING_TIMEOUT", 60, least=0),
        "max_frame_size": count("MAX_FRAME_SIZE", 16 * 2**20, least=1024),
        "max_waiting_messages": count("MAX_WAITING_MESSAGES", 1000),
        "max_waiting_bytes": count("MAX_WAITING_BYTES", 32 * 2**20),
        "max_unread_bytes": count("MAX_UNREAD_BYTES", 16 * 2**20),
        "max_messages_per_minute": count("MAX_MESSAGES_PER_MINUTE", 1200, least=0),
        "max_heavy_per_minute": count("MAX_HEAVY_PER_MINUTE", 60, least=0),
        "max_inbox_messages": count("MAX_INBOX_MESSAGES", 10_000),
        "max_inbox_bytes": count("MAX_INBOX_BYTES", 256 * 2**20),
        "max_outbox_messages": count("MAX_OUTBOX_MESSAGES", 10_000),
        "max_outbox_bytes": count("MAX_OUTBOX_BYTES", 64 * 2**20),
        "max_outbox_age": count("MAX_OUTBOX_AGE", 600),
        "job_seconds": seconds("JOB_SECONDS", 10),
        "job_memory": count("JOB_MEMORY", 2 * 2**30, least=2**28),
        **read_bridges(env, channels or ()),
        "fronts": env.integer("FRONTS", env.integer("NB_UVICORN_WORKERS", 1, within(0)), within(0)),
        "workers": tuple(count(lane.setting, 1, least=0) for lane in LANES),
        "state_dir": env.text("STATE_DIR", ".state"),
    }


# The characters are those of a bearer token (RFC 6750 §2.1).
_BEARER_TOKEN = like(
    r"([\w.~+/-]{16,}=*)?\Z",
    "At least 16 letters, digits or -._~+/ are needed; `openssl rand -hex 32` makes a good one.",
    re.ASCII,
)

# {z}, {x} and {y} (or {-y}: counted from the south) in any order; a host may begin with a range of letters
_TILES_URL = r"""\Z|(?=\S*\{z\})(?=\S*\{x\})(?=\S*\{-?y\})(https?://(\{\w-\w\}\.)?[\w.-]+(:\d+)?|)/[^\s'"]+\Z"""
_TILES_URL_FORM = "Like https://tiles.example.org/{z}/{x}/{y}.png."

_INSTANCE_ID = "Letters, digits, '_', '.' and '-' only: it becomes part of every Redis key."


_SENTRY_DSN = re.compile(r"(https?://[^@/\s]+@[^@/\s]+/(\S+/)?\d+)?\Z")
_SENTRY_DSN_FORM = "As Sentry shows it: https://key@host/number."


def _traces_can_be_sent(endpoint: str) -> None:
    like(r"(https?://\S+)?\Z", "Starts with http:// or https://: https://collector:4318.")(endpoint)
    if endpoint:
        from importlib.util import find_spec

        try:
            is_installed = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
        except ModuleNotFoundError:
            is_installed = False
        rule(lambda _: is_installed, 'To send traces, pip install "gischat[otel]".')(endpoint)


def _channels(env: Environment) -> Any:
    def are_names(names: list[str]) -> bool:
        return bool(names) and len(set(names)) == len(names) and all(name and name.isprintable() for name in names)

    are_right = rule(are_names, "Names, comma-separated: at least one, none empty, none twice, in UTF-8.")
    names = env.words("CHANNELS", ["QGIS", "Geotribu"], are_right)
    return names and tuple(names)


def _networks(env: Environment, name: str) -> Any:
    def are_networks(words: list[str]) -> None:
        for word in words:
            try:
                ip_network(word)
            except ValueError as error:
                raise Invalid(f"Addresses or networks as 10.0.0.0/8, comma-separated: {error}.") from None

    words = env.words(name, [], are_networks)
    return tuple(map(ip_network, words or ()))


def _allowed_origins(env: Environment) -> Any:
    def are_origins(texts: list[str]) -> bool:
        return all(text == "*" or Origin.parse(text) for text in texts)

    are_right = rule(
        are_origins, "Comma-separated, each like https://maps.example.org:8443 without a path; or *; or null."
    )
    texts = env.words("ALLOWED_ORIGINS", [], are_right)
    return tuple(texts or ())


def _channel_tokens(env: Environment, channels: tuple[str, ...] | None) -> Any:
    """Pairs of a channel and a token. The reasons name no entry but by its place: all of it may be secret."""

    def check(text: str) -> None:
        entries = _entries(text)
        if not entries:
            raise Invalid("There is none in it. Leave the setting out if all channels shall be open.")
        wrong = [str(place) for place, entry in enumerate(entries, 1) if not _channel_and_token(entry, channels or ())]
        if wrong and channels:
            raise Invalid(
                f"Each is a channel of CHANNELS, a colon and a token, separated by commas or line breaks:"
                f" number {', '.join(wrong)} is not."
            )

    text = env.text("CHANNEL_TOKENS", None, check)
    return tuple(filter(None, (_channel_and_token(entry, channels or ()) for entry in _entries(text or ""))))


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]


def _channel_and_token(entry: str, channels: tuple[str, ...]) -> tuple[str, str] | None:
    """What an entry says, or None. Both may hold colons: the longest name that fits is meant."""
    for channel in sorted(channels, key=len, reverse=True):
        found = re.match(rf"{re.escape(channel)}\s*:\s*(.+)", entry)
        if found and found[1].isprintable():
            return channel, found[1]
    return None


def _redis_url(env: Environment) -> Any:
    host = env.text("REDIS_HOST", "127.0.0.1")
    port = env.integer("REDIS_PORT", 6379, within(1, 65535))
    return env.text("REDIS_URL", "", _redis_url_is_good) or f"redis://{Node(host or 'localhost', port)}/0"


def _redis_url_is_good(url: str) -> None:
    try:
        if url:
            redis_url.check_files(redis_url.parse(url))
    except redis_url.WrongUrl as error:
        raise Invalid(str(error)) from None


def _contradictions(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """What is wrong between settings that are right in themselves."""
    pairs = {
        "MAX_AUTHOR_LENGTH": ("max_author_length", "min_author_length", "Less than MIN_AUTHOR_LENGTH."),
    }
    found = (
        _wrong_admin_author(values, wrong)
        | bridge_contradictions(values, wrong)
        | {
            name: reason
            for name, (greater, lesser, reason) in pairs.items()
            if not wrong.keys() & {greater.upper(), lesser.upper()} and 0 < values[greater] < values[lesser]
        }
    )
    if not wrong.keys() & {"PORT", "METRICS_PORT"} and 0 < values["metrics_port"] == values["port"]:
        found["METRICS_PORT"] = "The same as PORT: workers would be given connections that are meant for fronts."
    return found


def _wrong_admin_author(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """It is a nickname like all others; where nobody moderates, it does not matter."""
    if not values["admin_token"] or wrong.keys() & {"MIN_AUTHOR_LENGTH", "MAX_AUTHOR_LENGTH"}:
        return {}
    shortest, longest, author = values["min_author_length"], values["max_author_length"], values["admin_author"]
    if shortest <= len(author) <= longest and re.fullmatch(r"[A-Za-z0-9_-]+", author):
        return {}
    return {"ADMIN_AUTHOR": f"Not a nickname: {shortest} to {longest} letters A-Z, digits, '_' and '-' are needed."}
