"""The environment: its defaults, its aliases and files, and how everything that is wrong with it is named at once."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gischat.bridge_settings import TelegramChat
from gischat.settings import Settings, SettingsError, load, variables

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


# Defaults: the table of the wire contract, and ours beside it

CONTRACT = {
    "channels": ("QGIS", "Geotribu"),
    "rules": "Be kind.",
    "main_lang": "en",
    "instance_id": "gischat",
    "environment": "production",
    "min_author_length": 3,
    "max_author_length": 32,
    "max_message_length": 255,
    "max_image_size": 800,
    "max_image_raw_length": 12_000_000,
    "max_image_pixels": 64_000_000,
    "max_model_raw_length": 1_000_000,
    "max_script_raw_length": 2_000_000,
    "max_geojson_features": 500,
    "max_stored_messages": 5,
    "host": "0.0.0.0",
    "port": 8000,
    "ws_ping_interval": 20,
    "ws_ping_timeout": 60,
    "sentry_dsn": "",
    "sentry_traces_sample_rate": 0,
}


def test_without_an_environment_the_defaults_are_those_of_the_contract(environment: Environment) -> None:
    settings = load()
    assert {name: getattr(settings, name) for name in CONTRACT} == CONTRACT


def test_a_frame_may_be_16_mib_and_holds_the_largest_image(environment: Environment) -> None:
    settings = load()
    assert settings.max_frame_size == 16_777_216
    assert settings.max_frame_size > settings.max_image_raw_length


def test_settings_cannot_be_changed(environment: Environment) -> None:
    settings = load()
    with pytest.raises(FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]


def test_every_variable_that_is_read_is_listed(environment: Environment) -> None:
    # Given everything in a variable of any name, but nothing that is right
    environment(**dict.fromkeys(variables(), "\n"))
    # Then what is found to be wrong is in the list
    assert wrong().keys() <= set(variables())
    assert {"FRONTS", "NB_UVICORN_WORKERS", "REDIS_PORT", "REDIS_URL"} <= wrong().keys()


# Values as they are given

GIVEN: list[tuple[str, str, Any]] = [
    ("ALLOWED_ORIGINS", "*", ("*",)),
    ("MATRIX_HOMESERVER", "matrix.example.org:8448/", "https://matrix.example.org:8448"),
    ("MATRIX_HOMESERVER", "http://[::1]:8008", "http://[::1]:8008"),
    (
        "ALLOWED_ORIGINS",
        "https://maps.example.org, http://[::1]:8000,null",
        ("https://maps.example.org", "http://[::1]:8000", "null"),
    ),
    ("REQUIRE_REGISTRATION", "true", True),
    ("CHANNEL_TOKENS", "QGIS:s3cret", (("QGIS", "s3cret"),)),
    ("CHANNEL_TOKENS", "QGIS:a:b, Geotribu : c d\n\nQGIS:é\n", (("QGIS", "a:b"), ("Geotribu", "c d"), ("QGIS", "é"))),
    ("CHANNELS", "QGIS", ("QGIS",)),
    ("CHANNELS", "QGIS, Field and mobile ,Été à la mer", ("QGIS", "Field and mobile", "Été à la mer")),
    ("CHANNELS", "100%,R+D,nord/sud,{x}:y", ("100%", "R+D", "nord/sud", "{x}:y")),
    ("RULES", "Soyez gentils, s'il vous plaît.", "Soyez gentils, s'il vous plaît."),
    ("INSTANCE_ID", "my-chat_2.0", "my-chat_2.0"),
    ("MAX_STORED_MESSAGES", "0", 0),
    ("MIN_AUTHOR_LENGTH", "32", 32),
    ("PORT", "65535", 65535),
    ("PORT", "0", 0),
    ("HOST", "::1", "::1"),
    ("TRUSTED_PROXIES", "", ()),
    ("TRUSTED_PROXIES", "127.0.0.1, 2001:db8::/32", (ip_network("127.0.0.1/32"), ip_network("2001:db8::/32"))),
    ("ADMIN_TOKEN", "0123456789abcdef", "0123456789abcdef"),
    ("ADMIN_TOKEN", "c2VjcmV0LXNlY3JldA+/-._~==", "c2VjcmV0LXNlY3JldA+/-._~=="),
    ("ADMIN_AUTHOR", "no nickname, but nobody moderates", "no nickname, but nobody moderates"),
    ("ADMIN_URL", "https://chat.example.org", "https://chat.example.org"),
    (
        "MAP_TILES_URL",
        "https://{a-c}.example.org:81/{z}/{x}/{-y}.png?k=1",
        "https://{a-c}.example.org:81/{z}/{x}/{-y}.png?k=1",
    ),
    ("MAP_TILES_URL", "/tiles/{z}/{y}/{x}", "/tiles/{z}/{y}/{x}"),
    ("LOG_LEVEL", "debug", "debug"),
    ("METRICS_TOKEN", "0123456789abcdef", "0123456789abcdef"),
    ("METRICS_PORT", "9091", 9091),
    ("WS_PING_INTERVAL", "0", 0),
    ("WS_PING_INTERVAL", "10", 10),
    ("WS_PING_TIMEOUT", "2.5", 2.5),
    ("SENTRY_TRACES_SAMPLE_RATE", "1", 1),
    ("FRONTS", "0", 0),
    ("STATE_DIR", "/var/lib/gischat", "/var/lib/gischat"),
    ("REDIS_URL", "rediss://user:secret@example.org:6380/3", "rediss://user:secret@example.org:6380/3"),
    ("REDIS_URL", "unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1"),
]


@pytest.mark.parametrize(("name", "value", "meaning"), GIVEN)
def test_a_value_is_taken_as_it_is_meant(environment: Environment, name: str, value: str, meaning: Any) -> None:
    environment(**{name: value})
    assert getattr(load(), name.lower()) == meaning


def test_a_setting_that_is_not_ours_is_left_alone(environment: Environment) -> None:
    environment(GISCHAT_PORT="x", PORTS="x")
    assert load().port == 8000


# Values that are wrong

WRONG = [
    *(
        ("ALLOWED_ORIGINS", value)
        for value in (",", "example.org", "https://example.org/", "https://*", "https://a,,b")
    ),
    *(("REQUIRE_REGISTRATION", value) for value in ("", "maybe", "2")),
    # Whoever meant a channel to be private finds it so, or finds the process stopped
    *(
        ("CHANNEL_TOKENS", value)
        for value in ("", " \n", ",", "QGIS", "QGIS:", "qgis:x", "QGIS x", "QGIS:a,Geo:b", "QGIS:\x07")
    ),
    *((name, value) for name in ("PORT", "MAX_MESSAGE_LENGTH", "FRONTS") for value in ("", "x", "1.5", "-1", "1e3")),
    *((name, value) for name in ("JOB_SECONDS", "WS_PING_TIMEOUT") for value in ("", "x", "-1", "nan", "inf")),
    *(("CHANNELS", value) for value in (" ", ",", "QGIS,", "QGIS,,Geotribu", "QGIS,Geotribu, QGIS")),
    *(("INSTANCE_ID", value) for value in ("", "two words", "a:b", "{a}", "a\n", "é\n")),
    *(("LOG_LEVEL", value) for value in ("", "loud", "info\n")),
    *(("REDIS_URL", value) for value in ("localhost", "http://localhost", "redis://", " redis://localhost")),
    *(("TRUSTED_PROXIES", value) for value in (" ", ",", "nginx", "10.0.0.1/8", "10.0.0.0/8,", "127.0.0.1:80", "*")),
    *(("ADMIN_TOKEN", value) for value in ("0123456789abcde", "two words, and long enough", "==================")),
    ("ADMIN_URL", "chat.example.org"),
    ("MAP_TILES_URL", "https://example.org/{z}/{x}.png"),
    ("MAP_TILES_URL", "ftp://example.org/{z}/{x}/{y}"),
    ("MAP_TILES_URL", "https://example.org; script-src *; /{z}/{x}/{y}"),
    *(
        ("MATRIX_HOMESERVER", value)
        for value in ("http://", "https://", "x:99999", "x:port", "https://[::1", "a..b", "x/path", "ftp://x", "u@x")
    ),
    *(("OUTGOING_HOOKS", f"QGIS={url}") for url in ("https://", "https://:p@x/", "https://a..b/", "x.example/path")),
    *(
        ("TELEGRAM_BRIDGES", value)
        for value in ("QGIS", "QGIS=1", "QGIS=@a", "qgis=-1", "QGIS=-1/", "QGIS=-1,QGIS=-2", "QGIS=-1/1,Geotribu=-1")
    ),
    *(("TELEGRAM_TOKEN", value) for value in ("123", "123:a/b", "123:a b", "123:a?b")),
    *(("TELEGRAM_API", value) for value in ("https://example.org/path", "https://a:b@example.org", "ftp://x")),
    ("PORT", "65536"),
    *(("METRICS_TOKEN", value) for value in ("short", "sixteen letters!", "x" * 20 + "\n", "é" * 20)),
    *(("METRICS_PORT", value) for value in ("", "x", "-1", "65536")),
    ("MIN_AUTHOR_LENGTH", "0"),
    ("MAX_AUTHOR_LENGTH", "0"),
    ("MAX_STORED_MESSAGES", "-1"),
    ("MAX_IMAGE_SIZE", "0"),
    ("SENTRY_TRACES_SAMPLE_RATE", "1.01"),
    ("JOB_SECONDS", "0"),
    ("JOB_MEMORY", "1000"),
    ("MAX_FRAME_SIZE", "10"),
    ("REDIS_PORT", "0"),
    ("REDIS_PORT", "65536"),
    ("NB_UVICORN_WORKERS", "two"),
    ("NB_UVICORN_WORKERS", "-2"),
]


def test_a_wrong_value_is_named_with_a_reason(environment: Environment) -> None:
    for name, value in WRONG:
        environment(**{name: value})
        ((named, reason),) = wrong().items()
        assert named == name, value
        assert reason.endswith("."), (name, value)


@pytest.mark.parametrize("author", ["", "ab", "x" * 33, "The House", "maison-été"])
def test_who_announces_bears_a_nickname_like_all_others(environment: Environment, author: str) -> None:
    environment(ADMIN_TOKEN="0123456789abcdef", ADMIN_AUTHOR=author)
    assert list(wrong()) == ["ADMIN_AUTHOR"]


def test_the_nickname_of_who_announces_fits_the_lengths_that_are_set(environment: Environment) -> None:
    environment(ADMIN_TOKEN="0123456789abcdef", MIN_AUTHOR_LENGTH="8")
    assert list(wrong()) == ["ADMIN_AUTHOR"]


def test_no_token_is_shown_with_the_settings(environment: Environment) -> None:
    environment(ADMIN_TOKEN="0123456789abcdef", TELEGRAM_TOKEN="1:0123456789abcdef")
    assert "0123456789abcdef" not in repr(load())


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


def test_an_instance_without_any_channel_is_refused(environment: Environment) -> None:
    environment(CHANNELS="")
    assert list(wrong()) == ["CHANNELS"]


def test_a_channel_name_that_is_no_utf8_is_refused(environment: Environment) -> None:
    # Given a name in Latin-1, which Python reads from its environment as a lone surrogate
    environment(CHANNELS=b"QGIS,\xc9t\xe9".decode("utf-8", "surrogateescape"))
    # Then it is refused, for no key, path or message could bear it
    assert list(wrong()) == ["CHANNELS"]


def test_all_that_is_wrong_is_named_together_a_line_apiece(environment: Environment) -> None:
    # Given something wrong of every kind, among what is right
    environment(
        PORT="http",
        CHANNELS="QGIS,QGIS",
        LOG_LEVEL="loud",
        REDIS_URL="localhost:6379",
        MAX_MESSAGE_LENGTH="100",
        MAX_STORED_MESSAGES="-1",
        MIN_AUTHOR_LENGTH="20",
        MAX_AUTHOR_LENGTH="10",
    )
    # When the settings are read
    with pytest.raises(SettingsError) as raised:
        load()
    # Then one error names everything, the contradiction too
    expected = {"PORT", "CHANNELS", "LOG_LEVEL", "REDIS_URL", "MAX_STORED_MESSAGES", "MAX_AUTHOR_LENGTH"}
    assert raised.value.wrong.keys() == expected
    lines = str(raised.value).splitlines()
    assert {line.partition(": ")[0] for line in lines} == expected
    assert len(lines) == len(expected)


def test_the_value_that_is_wrong_is_not_repeated(environment: Environment) -> None:
    """It may be a secret in the wrong place, and what is said goes to the log."""
    environment(REDIS_URL="kanarienvogel", PORT="kanarienvogel", CHANNELS="kanarienvogel,kanarienvogel")
    with pytest.raises(SettingsError) as raised:
        load()
    assert "kanarienvogel" not in str(raised.value)


def test_a_token_is_never_repeated_but_its_place_is_told(environment: Environment) -> None:
    environment(CHANNEL_TOKENS="QGIS:kanarienvogel,Qgis:kanarienvogel\nkanarienvogel")
    assert "kanarienvogel" not in wrong()["CHANNEL_TOKENS"]
    assert "number 2, 3 is not" in wrong()["CHANNEL_TOKENS"]


def test_a_channel_whose_name_holds_a_colon_is_told_from_a_token_that_does(environment: Environment) -> None:
    environment(CHANNELS="a,a:b", CHANNEL_TOKENS="a:c:d,a:b:c")
    assert load().channel_tokens == (("a", "c:d"), ("a:b", "c"))


def test_tokens_are_not_shown_with_the_settings(environment: Environment) -> None:
    environment(CHANNEL_TOKENS="QGIS:kanarienvogel")
    assert "kanarienvogel" not in repr(load())


def test_tokens_may_come_in_a_file_one_a_line(environment: Environment, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("QGIS:one\nGeotribu:two\n", "utf-8")
    environment(CHANNEL_TOKENS_FILE=str(file))
    assert load().channel_tokens == (("QGIS", "one"), ("Geotribu", "two"))


def test_wrong_channels_are_not_blamed_on_their_tokens(environment: Environment) -> None:
    environment(CHANNELS="QGIS,QGIS", CHANNEL_TOKENS="QGIS:one")
    assert list(wrong()) == ["CHANNELS"]


# Contradictions: each value is right by itself


@pytest.mark.parametrize(
    ("given", "name", "other"),
    [
        ({"MAX_AUTHOR_LENGTH": "2"}, "MAX_AUTHOR_LENGTH", "MIN_AUTHOR_LENGTH"),
        ({"MIN_AUTHOR_LENGTH": "33"}, "MAX_AUTHOR_LENGTH", "MIN_AUTHOR_LENGTH"),
        ({"METRICS_PORT": "8000"}, "METRICS_PORT", "PORT"),
        ({"TELEGRAM_BRIDGES": "QGIS=-1"}, "TELEGRAM_TOKEN", "TELEGRAM_BRIDGES"),
    ],
)
def test_a_contradiction_is_named_with_both_settings(
    environment: Environment, given: dict[str, str], name: str, other: str
) -> None:
    environment(**given)
    assert list(wrong()) == [name]
    assert other in wrong()[name]


def test_the_time_for_an_answer_to_a_ping_may_be_longer_than_that_between_two(environment: Environment) -> None:
    environment(WS_PING_INTERVAL="5", WS_PING_TIMEOUT="90")
    assert (load().ws_ping_interval, load().ws_ping_timeout) == (5, 90)


def test_a_wrong_value_is_not_blamed_a_second_time_for_a_contradiction(environment: Environment) -> None:
    environment(MIN_AUTHOR_LENGTH="x", MAX_AUTHOR_LENGTH="2")
    assert list(wrong()) == ["MIN_AUTHOR_LENGTH"]


# Aliases


@pytest.mark.parametrize(
    ("given", "fronts"),
    [
        ({}, 1),
        ({"NB_UVICORN_WORKERS": "3"}, 3),
        ({"FRONTS": "2"}, 2),
        ({"FRONTS": "2", "NB_UVICORN_WORKERS": "3"}, 2),
    ],
)
def test_the_originals_name_for_the_fronts_is_honoured(
    environment: Environment, given: dict[str, str], fronts: int
) -> None:
    environment(**given)
    assert load().fronts == fronts


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "redis://127.0.0.1:6379/0"),
        ({"REDIS_HOST": "valkey"}, "redis://valkey:6379/0"),
        ({"REDIS_PORT": "6380"}, "redis://127.0.0.1:6380/0"),
        ({"REDIS_HOST": "valkey", "REDIS_PORT": "6380"}, "redis://valkey:6380/0"),
        ({"REDIS_HOST": "valkey", "REDIS_URL": "redis://other:1/2"}, "redis://other:1/2"),
        ({"REDIS_HOST": "valkey", "REDIS_URL": ""}, "redis://valkey:6379/0"),
    ],
)
def test_redis_is_named_by_url_or_by_host_and_port_and_the_url_wins(
    environment: Environment, given: dict[str, str], url: str
) -> None:
    environment(**given)
    assert load().redis_url == url


# Files, as container secrets come


def test_a_value_may_stand_in_a_file(environment: Environment, tmp_path: Path) -> None:
    secret = tmp_path / "redis"
    secret.write_text("redis://:secret@valkey:6379/0\n")
    environment(REDIS_URL_FILE=str(secret))
    assert load().redis_url == "redis://:secret@valkey:6379/0"


@pytest.mark.parametrize(("name", "content"), [("PORT", "8001"), ("CHANNELS", "QGIS,Geotribu"), ("JOB_MEMORY", "1e9")])
def test_a_value_in_a_file_is_checked_as_any_other(
    environment: Environment, tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / "value").write_text(content)
    environment(**{name: content})
    outright = _loaded()
    environment(**{f"{name}_FILE": str(tmp_path / "value")})
    assert _loaded() == outright


def test_a_file_that_cannot_be_read_is_named_with_all_else_that_is_wrong(
    environment: Environment, tmp_path: Path
) -> None:
    environment(REDIS_URL_FILE=str(tmp_path / "missing"), PORT="x")
    named = wrong()
    assert "PORT" in named
    assert any(name.startswith("REDIS_URL") for name in named)


def _loaded() -> Settings | str:
    try:
        return load()
    except SettingsError as error:
        return str(error)
