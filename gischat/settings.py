"""Settings: the environment variables, parsed once into a frozen object.

No other module reads the environment; code that needs a setting is passed the `Settings`. Defaults are defined only
here. Every variable can also be given as a file, as container secrets are: `REDIS_URL_FILE=/run/secrets/redis`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from gischat import hook_settings
from gischat import setting_forms as forms
from gischat.bridge_settings import TelegramChat
from gischat.bridge_settings import contradictions as bridge_contradictions
from gischat.bridge_settings import read as read_bridges
from gischat.environment import Environment, one_of, within
from gischat.hook_settings import Hook
from gischat.protocol.types import LANES, Lane

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "text")

# Wildcard values of HOST, and for each the loopback address on which the server can be reached.
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}

# The address that the plugin's own README gives for installing it
_QFIELD_PLUGIN = "https://github.com/geotribu/qchat-qfield-plugin/releases/latest/download/qfchat-latest.zip"

WRONG_SETTINGS = 78  # the exit status (EX_CONFIG of sysexits.h): a restart does not help


class SettingsError(Exception):
    """One or more settings are invalid; `str()` names each on a line of its own."""

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
    map_tiles_url: str  # empty: the map shows only its built-in land and borders
    map_attribution: str
    qfield_plugin_url: str  # from where QField installs the plugin
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
    # The instance and its addresses
    instance_id: str
    environment: str
    redis_url: str = field(repr=False)  # secret, like every field that `repr` leaves out
    host: str
    port: int
    base_path: str  # prefix of every path: empty, or like /chat
    log_level: str
    log_format: str
    process_name: str
    sentry_dsn: str = field(repr=False)
    sentry_traces_sample_rate: float
    otel_exporter_otlp_endpoint: str  # empty: messages are not traced
    # Proxies whose X-Forwarded-* headers are honoured
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    # Access
    allowed_origins: tuple[str, ...]  # origins of other sites' pages; `*`: any
    channel_tokens: tuple[tuple[str, str], ...] = field(repr=False)  # (channel, token); a channel may have several
    require_registration: bool
    # Hooks
    hooks: tuple[tuple[Hook, str], ...] = field(repr=False)  # each with its key
    max_hook_messages_per_minute: int  # of one hook, on one front; 0: no limit
    outgoing_hooks: tuple[tuple[str, str], ...] = field(repr=False)  # channel, address
    outgoing_hooks_secret: str = field(repr=False)
    outgoing_hooks_allow_private: bool
    # Metrics
    metrics_token: str = field(repr=False)  # empty: readable only from this machine
    metrics_port: int  # of workers; 0: workers serve no metrics
    prometheus_multiproc_dir: str
    # All clients of one front; 0 connections: no limit
    max_connections: int
    max_pending_connections: int
    max_front_bytes: int
    handshake_seconds: float
    # All clients of one address, on one front; 0: no limit
    max_connections_per_address: int
    max_address_messages_per_minute: int
    max_address_requests_per_minute: int
    # Moderation
    admin_token: str = field(repr=False)  # empty: moderation is off
    admin_author: str  # author of announcements
    admin_url: str  # server that `gischat admin` talks to; empty: the front of this machine
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
    job_seconds: float  # CPU time; for the limit in wall-clock time see `worker.sandbox`
    job_memory: int  # bytes of address space
    # Bridges to other chats
    matrix_bridges: tuple[tuple[str, str], ...]  # channel, room; each at most once
    matrix_homeserver: str
    matrix_token: str = field(repr=False)
    matrix_notices: bool  # announce who joins and leaves a channel
    matrix_ping_message_prefix: str
    matrix_ping_homeserver: str
    matrix_ping_roomid: str
    matrix_ping_token: str = field(repr=False)
    telegram_bridges: tuple[tuple[str, TelegramChat], ...]  # by channel; each at most once
    telegram_token: str = field(repr=False)
    telegram_api: str
    telegram_notices: bool  # announce who joins and leaves a channel
    # Processes that the supervisor runs
    bridges: int  # 0 or 1
    fronts: int
    workers: tuple[int, ...]  # of each lane: see `workers_of`
    state_dir: str

    def workers_of(self, lane: Lane) -> int:
        return self.workers[LANES.index(lane)]

    @property
    def max_body_size(self) -> int:
        """Bytes of a request's body: a text with each character as two escaped surrogates, plus the JSON around it."""
        return 2**19 + 12 * self.max_message_length


def load(file: Path | None = None) -> Settings:
    """Read the settings from the process' environment.

    Args:
        file: a file like .env, whose variables are added to the environment if it exists.

    Raises:
        SettingsError: one or more variables are invalid; it names all of them.
    """
    env = Environment(file)
    values = _read(env)
    wrong = env.wrong
    wrong |= _contradictions(values, wrong)
    if wrong:
        raise SettingsError(wrong)
    return Settings(**values)


def variables() -> list[str]:
    """The names of all environment variables, against which a test checks the documentation."""
    others = {lane.setting for lane in LANES} | {"REDIS_HOST", "REDIS_PORT", "NB_UVICORN_WORKERS"}
    return sorted({one.name.upper() for one in fields(Settings) if one.name != "workers"} | others)


def _read(env: Environment) -> dict[str, Any]:
    def count(name: str, default: int, least: int = 1) -> Any:
        return env.integer(name, default, within(least))

    def seconds(name: str, default: float, least: float = 0.1) -> Any:
        return env.number(name, default, within(least))

    channels = forms.channels(env)
    return {
        "channels": channels,
        "rules": env.text("RULES", "Be kind."),
        "main_lang": env.text("MAIN_LANG", "en"),
        "map_tiles_url": env.text("MAP_TILES_URL", "", forms.TILES_URL),
        "map_attribution": env.text("MAP_ATTRIBUTION", ""),
        "qfield_plugin_url": env.text("QFIELD_PLUGIN_URL", _QFIELD_PLUGIN, forms.WEB_ADDRESS),
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
        "instance_id": env.text("INSTANCE_ID", "gischat", forms.INSTANCE_ID),
        "environment": env.text("ENVIRONMENT", "production"),
        "redis_url": forms.redis_url(env),
        "host": env.text("HOST", "0.0.0.0"),
        "port": env.integer("PORT", 8000, within(0, 65535)),
        "base_path": env.text("BASE_PATH", "", forms.BASE_PATH),
        "log_level": env.text("LOG_LEVEL", "info", one_of(LOG_LEVELS)),
        "log_format": env.text("LOG_FORMAT", "auto", one_of(LOG_FORMATS)),
        # supervisord sets SUPERVISOR_PROCESS_NAME
        "process_name": env.text("PROCESS_NAME", env.text("SUPERVISOR_PROCESS_NAME", "")),
        "sentry_dsn": env.text("SENTRY_DSN", "", forms.SENTRY_DSN),
        "sentry_traces_sample_rate": env.number("SENTRY_TRACES_SAMPLE_RATE", 0.0, within(0, 1)),
        "otel_exporter_otlp_endpoint": env.text("OTEL_EXPORTER_OTLP_ENDPOINT", "", forms.traces_can_be_sent),
        "trusted_proxies": forms.networks(env, "TRUSTED_PROXIES"),
        "allowed_origins": forms.allowed_origins(env),
        "channel_tokens": forms.channel_tokens(env, channels),
        "require_registration": env.switch("REQUIRE_REGISTRATION", False),
        "hooks": hook_settings.hooks(env, channels),
        "max_hook_messages_per_minute": count("MAX_HOOK_MESSAGES_PER_MINUTE", 60, least=0),
        "outgoing_hooks_secret": env.text("OUTGOING_HOOKS_SECRET", "", forms.BEARER_TOKEN),
        "outgoing_hooks_allow_private": env.switch("OUTGOING_HOOKS_ALLOW_PRIVATE", False),
        "metrics_token": env.text("METRICS_TOKEN", "", forms.BEARER_TOKEN),
        "metrics_port": env.integer("METRICS_PORT", 0, within(0, 65535)),
        "prometheus_multiproc_dir": env.text("PROMETHEUS_MULTIPROC_DIR", ""),
        "max_connections": count("MAX_CONNECTIONS", 10_000, least=0),
        "max_pending_connections": count("MAX_PENDING_CONNECTIONS", 1000, least=0),
        "max_front_bytes": count("MAX_FRONT_BYTES", 256 * 2**20, least=2**20),
        "handshake_seconds": seconds("HANDSHAKE_SECONDS", 10),
        "max_connections_per_address": count("MAX_CONNECTIONS_PER_ADDRESS", 2000, least=0),
        "max_address_messages_per_minute": count("MAX_ADDRESS_MESSAGES_PER_MINUTE", 12_000, least=0),
        "max_address_requests_per_minute": count("MAX_ADDRESS_REQUESTS_PER_MINUTE", 6000, least=0),
        "admin_token": env.text("ADMIN_TOKEN", "", forms.BEARER_TOKEN),
        "admin_author": env.text("ADMIN_AUTHOR", "gischat"),
        "admin_url": env.text("ADMIN_URL", "", forms.SERVER),
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


def _contradictions(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """Errors between settings that are each valid by themselves."""
    found = _wrong_lengths(values, wrong)
    found |= bridge_contradictions(values, wrong) | hook_settings.contradictions(values, wrong)
    if not wrong.keys() & {"PORT", "METRICS_PORT"} and 0 < values["metrics_port"] == values["port"]:
        found["METRICS_PORT"] = "Must differ from PORT: workers would receive connections for fronts."
    return found


def _wrong_lengths(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """Check the lengths of nicknames, and that ADMIN_AUTHOR is one; without an ADMIN_TOKEN it is not used."""
    if wrong.keys() & {"MIN_AUTHOR_LENGTH", "MAX_AUTHOR_LENGTH"}:
        return {}
    shortest, longest, author = values["min_author_length"], values["max_author_length"], values["admin_author"]
    if longest < shortest:
        return {"MAX_AUTHOR_LENGTH": "Must not be less than MIN_AUTHOR_LENGTH."}
    if not values["admin_token"] or (shortest <= len(author) <= longest and re.fullmatch(r"[A-Za-z0-9_-]+", author)):
        return {}
    return {"ADMIN_AUTHOR": f"Must be a nickname: {shortest} to {longest} letters A-Z, digits, '_' and '-'."}
