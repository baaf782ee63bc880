"""Settings: the environment variables, parsed once into a frozen object.

No other module reads the environment; code that needs a setting is passed the `Settings`. Defaults are defined only
here. Every variable can also be given as a file, as container secrets are: `REDIS_URL_FILE=/run/secrets/redis`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from gischat import bridge_settings, hook_settings
from gischat import setting_forms as forms
from gischat.bridge_settings import TelegramChat
from gischat.environment import Check, Environment, one_of, within
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


# Fields with the way to read their variables


def _from(read: Callable[..., Any], *more: Any, is_secret: bool = False) -> Any:
    """A field that `read(environment, name of the variable, *more)` reads."""
    return field(repr=not is_secret, metadata={"read": lambda env, name: read(env, name, *more)})


def _text(default: str, check: Check | None = None) -> Any:
    return _from(Environment.text, default, check)


def _secret(check: Check) -> Any:
    """A field that must not be logged; empty by default."""
    return _from(Environment.text, "", check, is_secret=True)


def _count(default: int, *, least: int = 1, most: float = math.inf) -> Any:
    return _from(Environment.integer, default, within(least, most))


def _number(default: float, *, least: float, most: float = math.inf) -> Any:
    return _from(Environment.number, default, within(least, most))


def _switch() -> Any:
    return _from(Environment.switch, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One instance's settings; a field is the lower-case name of its variable. Documented in docs/settings.md.

    Fields without a default depend on other settings, or have variables of other names: see `_read`.
    """

    # What people see
    channels: tuple[str, ...]
    rules: str = _text("Be kind.")
    main_lang: str = _text("en")
    map_tiles_url: str = _text("", forms.TILES_URL)  # empty: the map shows only its built-in land and borders
    map_attribution: str = _text("")
    qfield_plugin_url: str = _text(_QFIELD_PLUGIN, forms.WEB_ADDRESS)  # from where QField installs the plugin
    # Limits of the contract; lengths are characters, sizes of pictures pixels
    min_author_length: int = _count(3)
    max_author_length: int = _count(32)
    max_message_length: int = _count(255)
    max_image_size: int = _count(800)
    max_image_raw_length: int = _count(12_000_000)
    max_image_pixels: int = _count(64_000_000)
    max_model_raw_length: int = _count(1_000_000)
    max_script_raw_length: int = _count(2_000_000)
    max_geojson_features: int = _count(500)
    max_stored_messages: int = _count(5, least=0)
    max_stored_bytes: int = _count(8 * 2**20)
    # The instance and its addresses
    instance_id: str = _text("gischat", forms.INSTANCE_ID)
    environment: str = _text("production")
    redis_url: str = field(repr=False)
    host: str = _text("0.0.0.0")
    port: int = _count(8000, least=0, most=65535)
    base_path: str = _text("", forms.BASE_PATH)  # prefix of every path: empty, or like /chat
    log_level: str = _text("info", one_of(LOG_LEVELS))
    log_format: str = _text("auto", one_of(LOG_FORMATS))
    process_name: str
    sentry_dsn: str = _secret(forms.SENTRY_DSN)
    sentry_traces_sample_rate: float = _number(0.0, least=0, most=1)
    otel_exporter_otlp_endpoint: str = _text("", forms.traces_can_be_sent)  # empty: messages are not traced
    # Proxies whose X-Forwarded-* headers are honoured
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _from(forms.networks)
    # Access
    allowed_origins: tuple[str, ...] = _from(forms.allowed_origins)  # origins of other sites' pages; `*`: any
    channel_tokens: tuple[tuple[str, str], ...] = field(repr=False)  # (channel, token); a channel may have several
    require_registration: bool = _switch()
    # Hooks
    hooks: tuple[tuple[Hook, str], ...] = field(repr=False)  # each with its key
    max_hook_messages_per_minute: int = _count(60, least=0)  # of one hook, on one front; 0: no limit
    outgoing_hooks: tuple[tuple[str, str], ...] = field(repr=False)  # channel, address
    outgoing_hooks_secret: str = _secret(forms.BEARER_TOKEN)
    outgoing_hooks_allow_private: bool = _switch()
    # Metrics
    metrics_token: str = _secret(forms.BEARER_TOKEN)  # empty: readable only from this machine
    metrics_port: int = _count(0, least=0, most=65535)  # of workers; 0: workers serve no metrics
    prometheus_multiproc_dir: str = _text("")
    # All clients of one front; 0 connections: no limit
    max_connections: int = _count(10_000, least=0)
    max_pending_connections: int = _count(1000, least=0)
    max_front_bytes: int = _count(256 * 2**20, least=2**20)
    handshake_seconds: float = _number(10, least=0.1)
    # All clients of one address, on one front; 0: no limit
    max_connections_per_address: int = _count(2000, least=0)
    max_address_messages_per_minute: int = _count(12_000, least=0)
    max_address_requests_per_minute: int = _count(6000, least=0)
    # Moderation
    admin_token: str = _secret(forms.BEARER_TOKEN)  # empty: moderation is off
    admin_author: str = _text("gischat")  # author of announcements
    admin_url: str = _text("", forms.SERVER)  # that `gischat admin` talks to; empty: the front of this machine
    # One client
    ws_ping_interval: float = _number(20, least=0)  # seconds; 0: no pings
    ws_ping_timeout: float = _number(60, least=0)  # seconds without a sign of life after a ping; 0: as the interval
    max_frame_size: int = _count(16 * 2**20, least=1024)  # bytes
    max_waiting_messages: int = _count(1000)
    max_waiting_bytes: int = _count(32 * 2**20)
    max_unread_bytes: int = _count(16 * 2**20)
    max_messages_per_minute: int = _count(1200, least=0)  # 0: no limit
    max_heavy_per_minute: int = _count(60, least=0)  # images and layers; 0: no limit
    # One channel's streams
    max_inbox_messages: int = _count(10_000)
    max_inbox_bytes: int = _count(256 * 2**20)
    max_outbox_messages: int = _count(10_000)
    max_outbox_bytes: int = _count(64 * 2**20)
    max_outbox_age: int = _count(600)  # seconds
    # One job of the heavy lane
    job_seconds: float = _number(10, least=0.1)  # CPU time; for the limit in wall-clock time see `worker.sandbox`
    job_memory: int = _count(2 * 2**30, least=2**28)  # bytes of address space
    # Bridges to other chats
    matrix_bridges: tuple[tuple[str, str], ...]  # channel, room; each at most once
    matrix_homeserver: str = _from(bridge_settings.address)
    matrix_token: str = _secret(bridge_settings.TOKEN)
    matrix_notices: bool = _switch()  # announce who joins and leaves a channel
    matrix_ping_message_prefix: str = _text("")
    matrix_ping_homeserver: str = _from(bridge_settings.address)
    matrix_ping_roomid: str = _text("", bridge_settings.PING_ROOM)
    matrix_ping_token: str = _secret(bridge_settings.TOKEN)
    telegram_bridges: tuple[tuple[str, TelegramChat], ...]  # by channel; each at most once
    telegram_token: str = _secret(bridge_settings.BOT_TOKEN)
    telegram_api: str = _from(bridge_settings.address, "https://api.telegram.org")
    telegram_notices: bool = _switch()  # announce who joins and leaves a channel
    # Processes that the supervisor runs
    bridges: int  # 0 or 1
    fronts: int
    workers: tuple[int, ...]  # of each lane: see `workers_of`
    state_dir: str = _text(".state")

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
    values = {one.name: one.metadata["read"](env, one.name.upper()) for one in fields(Settings) if one.metadata}
    channels = values["channels"] = forms.channels(env)
    return values | {
        "redis_url": forms.redis_url(env),
        # supervisord sets SUPERVISOR_PROCESS_NAME
        "process_name": env.text("PROCESS_NAME", env.text("SUPERVISOR_PROCESS_NAME", "")),
        "channel_tokens": forms.channel_tokens(env, channels),
        "hooks": hook_settings.hooks(env, channels),
        **bridge_settings.read(env, channels or (), values["matrix_ping_roomid"]),
        "fronts": env.integer("FRONTS", env.integer("NB_UVICORN_WORKERS", 1, within(0)), within(0)),
        "workers": tuple(env.integer(lane.setting, 1, within(0)) for lane in LANES),
    }


def _contradictions(values: Mapping[str, Any], wrong: Mapping[str, str]) -> dict[str, str]:
    """Errors between settings that are each valid by themselves."""
    found = _wrong_lengths(values, wrong)
    found |= bridge_settings.contradictions(values, wrong) | hook_settings.contradictions(values, wrong)
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
