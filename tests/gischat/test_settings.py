"""The environment: its defaults, its aliases and files, and how everything that is wrong with it is named at once."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gischat.bridge_settings import TelegramChat
from gischat.settings import SettingsError, load, variables

Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Makes these variables, and no others, the environment that the settings are read from."""

    def become(**given: str) -> None:
        monkeypatch.setattr("os.environ", dict(given))

    become()
    return become


def wrong() -> dict[str, str]:
    """What is wrong with the environment: by variable, the reason."""
    with pytest.raises(SettingsError) as raised:
        load()
    return raised.value.wrong


# Defaults: the table of the wire contract

CONTRACT: dict[str, Any] = {
    "channels": ("QGIS", "Geotribu"), "rules": "Be kind.", "main_lang": "en", "instance_id": "gischat",
    "environment": "production", "min_author_length": 3, "max_author_length": 32, "max_message_length": 255,
    "max_image_size": 800, "max_image_raw_length": 12_000_000, "max_image_pixels": 64_000_000,
    "max_model_raw_length": 1_000_000, "max_script_raw_length": 2_000_000, "max_geojson_features": 500,
    "max_stored_messages": 5, "host": "0.0.0.0", "port": 8000, "ws_ping_interval": 20, "ws_ping_timeout": 60,
    "sentry_dsn": "", "sentry_traces_sample_rate": 0,
}  # fmt: skip


def test_without_an_environment_the_defaults_are_those_of_the_contract(environment: Environment) -> None:
    settings = load()
    assert {name: getattr(settings, name) for name in CONTRACT} == CONTRACT
    # A frame holds the largest image
    assert settings.max_frame_size == 16_777_216 > settings.max_image_raw_length


def test_every_variable_that_is_read_is_listed(environment: Environment) -> None:
    # Given everything in a variable of any name, but nothing that is right
    environment(**dict.fromkeys(variables(), "\n"))
    # Then what is found to be wrong is in the list
    assert wrong().keys() <= set(variables())
    assert {"FRONTS", "NB_UVICORN_WORKERS", "REDIS_PORT", "REDIS_URL"} <= wrong().keys()


# Values as they are given

GIVEN: list[tuple[str, str, Any]] = [
    ("ALLOWED_ORIGINS", "*", ("*",)),
    ("ALLOWED_ORIGINS", "https://a.example, http://[::1]:80,null", ("https://a.example", "http://[::1]:80", "null")),
    ("MATRIX_HOMESERVER", "matrix.example.org:8448/", "https://matrix.example.org:8448"),
    ("MATRIX_HOMESERVER", "http://[::1]:8008", "http://[::1]:8008"),
    ("REQUIRE_REGISTRATION", "true", True),
    ("CHANNEL_TOKENS", "QGIS:s3cret", (("QGIS", "s3cret"),)),
    ("CHANNEL_TOKENS", "QGIS:a:b, Geotribu : c d\n\nQGIS:é\n", (("QGIS", "a:b"), ("Geotribu", "c d"), ("QGIS", "é"))),
    ("CHANNELS", "QGIS, Field and mobile ,Été à la mer", ("QGIS", "Field and mobile", "Été à la mer")),
    ("CHANNELS", "100%,R+D,nord/sud,{x}:y", ("100%", "R+D", "nord/sud", "{x}:y")),
    ("TRUSTED_PROXIES", "", ()),
    ("TRUSTED_PROXIES", "127.0.0.1, 2001:db8::/32", (ip_network("127.0.0.1/32"), ip_network("2001:db8::/32"))),
    *(("PORT", str(port), port) for port in (0, 65535)),
    ("METRICS_PORT", "9091", 9091),
    ("MAX_STORED_MESSAGES", "0", 0),
    ("MIN_AUTHOR_LENGTH", "32", 32),
    ("FRONTS", "0", 0),
    ("WS_PING_INTERVAL", "0", 0),
    ("WS_PING_TIMEOUT", "2.5", 2.5),
    ("SENTRY_TRACES_SAMPLE_RATE", "1", 1),
]
AS_GIVEN = [
    ("RULES", "Soyez gentils, s'il vous plaît."),
    ("INSTANCE_ID", "my-chat_2.0"),
    ("HOST", "::1"),
    *(("ADMIN_TOKEN", token) for token in ("0123456789abcdef", "c2VjcmV0LXNlY3JldA+/-._~==")),
    ("ADMIN_AUTHOR", "no nickname, but nobody moderates"),
    ("ADMIN_URL", "https://chat.example.org"),
    ("MAP_TILES_URL", "https://{a-c}.example.org:81/{z}/{x}/{-y}.png?k=1"),
    ("MAP_TILES_URL", "/tiles/{z}/{y}/{x}"),
    ("LOG_LEVEL", "debug"),
    ("STATE_DIR", "/var/lib/gischat"),
    ("REDIS_URL", "rediss://user:secret@example.org:6380/3"),
]


@pytest.mark.parametrize(("name", "value", "meaning"), [*GIVEN, *((*given, given[1]) for given in AS_GIVEN)])
def test_a_value_is_taken_as_it_is_meant(environment: Environment, name: str, value: str, meaning: Any) -> None:
    environment(**{name: value})
    assert getattr(load(), name.lower()) == meaning


def test_a_setting_that_is_not_ours_is_left_alone(environment: Environment) -> None:
    environment(GISCHAT_PORT="x", PORTS="x")
    assert load().port == 8000


# Values that are wrong

WRONG = {
    "ALLOWED_ORIGINS": [",", "example.org", "https://example.org/", "https://*", "https://a,,b"],
    "REQUIRE_REGISTRATION": ["", "maybe", "2"],
    # Whoever meant a channel to be private finds it so, or finds the process stopped
    "CHANNEL_TOKENS": ["", " \n", ",", "QGIS", "QGIS:", "qgis:x", "QGIS x", "QGIS:a,Geo:b", "QGIS:\x07"],
    "PORT": ["", "x", "1.5", "-1", "1e3", "65536"],
    "MAX_MESSAGE_LENGTH": ["", "x", "0"],
    "FRONTS": ["", "x", "-1"],
    "JOB_SECONDS": ["", "x", "-1", "nan", "inf", "0"],
    "WS_PING_TIMEOUT": ["", "-1"],
    # No key, path or message could bear a name in Latin-1, which Python reads as lone surrogates
    "CHANNELS": ["", " ", ",", "QGIS,", "QGIS,,Geotribu", "QGIS,Geotribu, QGIS", "QGIS,\udcc9t\udce9"],
    "INSTANCE_ID": ["", "two words", "a:b", "{a}", "a\n", "é\n"],
    "LOG_LEVEL": ["", "loud", "info\n"],
    "REDIS_URL": ["localhost", "http://localhost", "redis://", " redis://localhost"],
    "TRUSTED_PROXIES": [" ", ",", "nginx", "10.0.0.1/8", "10.0.0.0/8,", "127.0.0.1:80", "*"],
    "ADMIN_TOKEN": ["0123456789abcde", "two words, and long enough", "=================="],
    "ADMIN_URL": ["chat.example.org"],
    "MAP_TILES_URL": [
        *("https://example.org/{z}/{x}.png", "ftp://example.org/{z}/{x}/{y}"),
        "https://example.org; script-src *; /{z}/{x}/{y}",
    ],
    "MATRIX_HOMESERVER": ["http://", "https://", "x:99999", "x:port", "https://[::1", "a..b", "x/path", "u@x"],
    "OUTGOING_HOOKS": [f"QGIS={url}" for url in ("https://", "https://:p@x/", "https://a..b/", "x.example/path")],
    "TELEGRAM_BRIDGES": ["QGIS=1", "QGIS=@a", "qgis=-1", "QGIS=-1/", "QGIS=-1,QGIS=-2", "QGIS=-1/1,Geotribu=-1"],
    "TELEGRAM_TOKEN": ["123", "123:a/b", "123:a b", "123:a?b"],
    "TELEGRAM_API": ["https://example.org/path", "https://a:b@example.org", "ftp://x"],
    "METRICS_TOKEN": ["short", "sixteen letters!", "x" * 20 + "\n", "é" * 20],
    "METRICS_PORT": ["", "x", "-1", "65536"],
    "SENTRY_TRACES_SAMPLE_RATE": ["1.01"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["collector:4318"],
    "MIN_AUTHOR_LENGTH": ["0"],
    "MAX_STORED_MESSAGES": ["-1"],
    "JOB_MEMORY": ["1000"],
    "MAX_FRAME_SIZE": ["10"],
    "REDIS_PORT": ["0", "65536"],
    "NB_UVICORN_WORKERS": ["two", "-2"],
}


def test_a_wrong_value_is_named_with_a_reason(environment: Environment) -> None:
    for name, value in [(name, value) for name, values in WRONG.items() for value in values]:
        environment(**{name: value})
        ((named, reason),) = wrong().items()
        assert named == name, value
        assert reason.endswith("."), (name, value)


@pytest.mark.parametrize("author", ["", "ab", "x" * 33, "The House", "maison-été"])
def test_who_announces_bears_a_nickname_like_all_others(environment: Environment, author: str) -> None:
    environment(ADMIN_TOKEN="0123456789abcdef", ADMIN_AUTHOR=author)
    assert list(wrong()) == ["ADMIN_AUTHOR"]


def test_no_token_is_shown_with_the_settings(environment: Environment) -> None:
    token = "0123456789abcdef"
    environment(ADMIN_TOKEN=token, TELEGRAM_TOKEN=f"1:{token}", CHANNEL_TOKENS=f"QGIS:{token}")
    assert token not in repr(load())


def test_a_group_and_its_topic_general_are_one(environment: Environment) -> None:
    environment(TELEGRAM_BRIDGES="QGIS=-1001234/1,Geotribu=-1001234/5", TELEGRAM_TOKEN="1:a")
    assert load().telegram_bridges == (("QGIS", TelegramChat(-1001234, 0)), ("Geotribu", TelegramChat(-1001234, 5)))
    assert load().bridges == 1


def test_a_file_completes_the_environment(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\nADMIN_AUTHOR=house\n")
    environment(PORT="2")
    settings = load(tmp_path / ".env")
    assert (settings.port, settings.admin_author) == (2, "house")
    assert load(tmp_path / "nowhere").admin_author == "gischat"


def test_all_that_is_wrong_is_named_together_a_line_apiece(environment: Environment) -> None:
    """Without the values: they may be secrets in the wrong place, and what is said goes to the log."""
    # Given something wrong of every kind, among what is right
    environment(
        PORT="kanarienvogel",
        CHANNELS="kanarienvogel,kanarienvogel",
        REDIS_URL="kanarienvogel",
        MAX_MESSAGE_LENGTH="100",
        MIN_AUTHOR_LENGTH="20",
        MAX_AUTHOR_LENGTH="10",
    )
    # When the settings are read
    with pytest.raises(SettingsError) as raised:
        load()
    # Then one error names everything, the contradiction too
    expected = {"PORT", "CHANNELS", "REDIS_URL", "MAX_AUTHOR_LENGTH"}
    assert raised.value.wrong.keys() == expected
    lines = str(raised.value).splitlines()
    assert {line.partition(": ")[0] for line in lines} == expected
    assert len(lines) == len(expected)
    assert "kanarienvogel" not in str(raised.value)


def test_a_token_is_never_repeated_but_its_place_is_told(environment: Environment) -> None:
    environment(CHANNEL_TOKENS="QGIS:kanarienvogel,Qgis:kanarienvogel\nkanarienvogel")
    assert "kanarienvogel" not in wrong()["CHANNEL_TOKENS"]
    assert "number 2, 3 is not" in wrong()["CHANNEL_TOKENS"]


def test_a_channel_whose_name_holds_a_colon_is_told_from_a_token_that_does(environment: Environment) -> None:
    environment(CHANNELS="a,a:b", CHANNEL_TOKENS="a:c:d,a:b:c")
    assert load().channel_tokens == (("a", "c:d"), ("a:b", "c"))


def test_wrong_channels_are_not_blamed_on_their_tokens(environment: Environment) -> None:
    environment(CHANNELS="QGIS,QGIS", CHANNEL_TOKENS="QGIS:one")
    assert list(wrong()) == ["CHANNELS"]


# Contradictions: each value is right by itself


@pytest.mark.parametrize(
    ("given", "name", "other"),
    [
        ({"MIN_AUTHOR_LENGTH": "33"}, "MAX_AUTHOR_LENGTH", "MIN_AUTHOR_LENGTH"),
        ({"METRICS_PORT": "8000"}, "METRICS_PORT", "PORT"),
        ({"TELEGRAM_BRIDGES": "QGIS=-1"}, "TELEGRAM_TOKEN", "TELEGRAM_BRIDGES"),
        ({"ADMIN_TOKEN": "0123456789abcdef", "MIN_AUTHOR_LENGTH": "8"}, "ADMIN_AUTHOR", "8 to 32"),
    ],
)
def test_a_contradiction_is_named_with_both_settings(
    environment: Environment, given: dict[str, str], name: str, other: str
) -> None:
    environment(**given)
    assert list(wrong()) == [name]
    assert other in wrong()[name]


def test_a_wrong_value_is_not_blamed_a_second_time_for_a_contradiction(environment: Environment) -> None:
    environment(MIN_AUTHOR_LENGTH="x", MAX_AUTHOR_LENGTH="2")
    assert list(wrong()) == ["MIN_AUTHOR_LENGTH"]


# Aliases


@pytest.mark.parametrize(
    ("given", "fronts"),
    [({}, 1), ({"NB_UVICORN_WORKERS": "3"}, 3), ({"FRONTS": "2"}, 2), ({"FRONTS": "2", "NB_UVICORN_WORKERS": "3"}, 2)],
)
def test_the_originals_name_for_the_fronts_is_honoured(
    environment: Environment, given: dict[str, str], fronts: int
) -> None:
    environment(**given)
    assert load().fronts == fronts


@pytest.mark.parametrize(
    ("host", "port", "url", "meant"),
    [
        ("", "", "", "redis://127.0.0.1:6379/0"),
        ("valkey", "", "", "redis://valkey:6379/0"),
        ("", "6380", "", "redis://127.0.0.1:6380/0"),
        ("valkey", "6380", "", "redis://valkey:6380/0"),
        ("valkey", "", "redis://other:1/2", "redis://other:1/2"),
    ],
)
def test_redis_is_named_by_url_or_by_host_and_port_and_the_url_wins(
    environment: Environment, host: str, port: str, url: str, meant: str
) -> None:
    environment(**{name: value for name, value in (("REDIS_HOST", host), ("REDIS_PORT", port)) if value}, REDIS_URL=url)
    assert load().redis_url == meant


# Files, as container secrets come


def test_a_value_may_stand_in_a_file_and_is_checked_as_any_other(environment: Environment, tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text("redis://:secret@valkey:6379/0\n")
    environment(REDIS_URL_FILE=str(file))
    assert load().redis_url == "redis://:secret@valkey:6379/0"
    file.write_text("QGIS:one\nGeotribu:two\n")
    environment(CHANNEL_TOKENS_FILE=str(file))
    assert load().channel_tokens == (("QGIS", "one"), ("Geotribu", "two"))
    file.write_text("1e9")
    environment(JOB_MEMORY_FILE=str(file))
    in_file = wrong()
    environment(JOB_MEMORY="1e9")
    assert in_file == wrong()


def test_a_file_that_cannot_be_read_is_named_with_all_else_that_is_wrong(
    environment: Environment, tmp_path: Path
) -> None:
    environment(REDIS_URL_FILE=str(tmp_path / "missing"), PORT="x")
    named = wrong()
    assert "PORT" in named
    assert any(name.startswith("REDIS_URL") for name in named)
