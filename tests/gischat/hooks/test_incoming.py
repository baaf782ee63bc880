"""What becomes of what other programs post: the words of each kind of sender, markdown, long texts, files."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from gischat.errors import Uncompliant
from gischat.hooks.incoming import decode, messages_of, text_of
from gischat.hooks.plain_text import MAX_MARKUP, pieces, plain
from gischat.protocol.parsing import MessageParser
from tests.support.settings import settings

REPOSITORY = {"repository": {"full_name": "qgis/QGIS"}, "sender": {"login": "jane"}}
ISSUE = {"number": 7, "title": "A __init__ crash", "html_url": "https://github.example/7"}
TITLED = "#7 A __init__ crash (https://github.example/7)"
# GitHub's event, what is posted, what is said
BODIES: list[tuple[str, dict[str, Any], str]] = [
    ("", {"text": "Build *done*: <https://ci.example/1|log> &amp; more"},
     "Build done: log (https://ci.example/1) & more"),
    ("", {"text": "done", "username": "jenkins"}, "jenkins: done"),
    ("", {"text": "done", "username": "Build"}, "done"),
    ("",
     {"attachments": [
        {"fallback": "unused", "title": "[FIRING:1] Disk full", "title_link": "https://grafana.example/a",
         "text": "**Firing**", "fields": [{"title": "host", "value": "`db-1`"}]},
        {"fallback": "only this"}]},
     "[FIRING:1] Disk full (https://grafana.example/a)\nFiring\nhost: db-1\nonly this"),
    ("",
     {"blocks": [
        {"type": "header", "text": {"type": "plain_text", "text": "Deployed"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*v2*"}]},
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
            {"type": "text", "text": "see "}, {"type": "link", "url": "https://x.example", "text": "notes"}]}]}]},
     "Deployed\nv2\nsee notes (https://x.example)"),
    ("",
     {"version": "4", "status": "firing", "groupLabels": {"alertname": "DiskFull"}, "externalURL": "https://a.example",
      "alerts": [
        {"status": "firing", "annotations": {"summary": "db-1 is full"}, "generatorURL": "https://p.example/1"},
        {"status": "resolved", "labels": {"alertname": "DiskFull", "host": "db-2"}}]},
     "[FIRING:2] DiskFull\n- db-1 is full (https://p.example/1)\n- resolved: alertname: DiskFull, host: db-2"),
    ("",
     {"title": "[FIRING:1] Tide", "status": "firing", "alerts": [{}], "message": "long",
      "externalURL": "https://g.example"},
     "[FIRING:1] Tide (https://g.example)\n-"),
    ("",
     {"title": "[Alerting] Tide", "ruleName": "Tide", "ruleUrl": "https://g.example/r", "message": "high",
      "evalMatches": []},
     "[Alerting] Tide (https://g.example/r)\nhigh"),
    ("ping", {"zen": "Speak like a human.", **REPOSITORY},
     "[qgis/QGIS] GitHub posts here from now on. Speak like a human."),
    ("push",
     {"ref": "refs/heads/fix/a_b", "after": "1" * 40, "pusher": {"name": "jane"}, "compare": "https://github.example/c",
      "commits": [{"message": "Fix __init__\n\nlong"}], **REPOSITORY},
     "[qgis/QGIS] jane pushed 1 commit to branch fix/a_b (https://github.example/c)\n- Fix __init__"),
    ("push", {"ref": "refs/tags/v1", "after": "0" * 40, **REPOSITORY}, "[qgis/QGIS] jane deleted tag v1"),
    ("pull_request", {"action": "closed", "pull_request": {**ISSUE, "merged_at": "2026-01-01"}, **REPOSITORY},
     f"[qgis/QGIS] jane merged pull request: {TITLED}"),
    ("issues", {"action": "opened", "issue": ISSUE, **REPOSITORY}, f"[qgis/QGIS] jane opened issue: {TITLED}"),
    ("issue_comment",
     {"action": "created", "issue": ISSUE, "comment": {"body": "Me too\nx", "html_url": "https://g.example/9"},
      **REPOSITORY},
     "[qgis/QGIS] jane created issue comment: #7 A __init__ crash (https://g.example/9)\nMe too"),
    ("release", {"action": "published", "release": {"name": "3.40", "html_url": "https://g.example/r"}, **REPOSITORY},
     "[qgis/QGIS] jane published release: 3.40 (https://g.example/r)"),
    ("workflow_run",
     {"action": "completed",
      "workflow_run": {"name": "CI", "conclusion": "failure", "html_url": "https://g.example/w"}},
     "somebody completed workflow run (failure): CI (https://g.example/w)"),
    ("",
     {"type": "submission.create", "id": "uuid:1",
      "data": {"xml": "<data xmlns:o='x' id=\"trees\"><o:meta><o:instanceName>Oak</o:instanceName>"}},
     "New submission of trees: Oak"),
    ("", {"type": "submission.update", "id": "uuid:1", "data": {"reviewState": "hasIssues"}},
     "Submission: 1: hasIssues"),
    ("", {"type": "entity.update.version", "id": "uuid:2", "data": {"height": "3", "n": 4}},
     "Changed entity: 2\nheight: 3, n: 4"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "content", "said"), BODIES)
def test_each_sender_is_understood(event: str, content: dict[str, Any], said: str) -> None:
    headers = {"X-GitHub-Event": event} if event else {}
    assert text_of(headers, content, "build") == said


NAMES = "text attachments blocks alerts repository commits issue sender data username ref"


@pytest.mark.parametrize("event", ["", "push", "issues", "pull_request", "release", "anything"])
@pytest.mark.parametrize(
    "wrong", [None, True, 3, "x", [], ["x"], {"x": {"x": []}}, [{"text": {"text": []}, "fields": 3}]]
)
def test_whatever_stands_where_something_else_should_harms_nobody(event: str, wrong: Any) -> None:
    for content in (dict.fromkeys(NAMES.split(), wrong), {"alerts": [wrong]}, {"type": "entity.", "data": wrong}):
        text_of({"X-GitHub-Event": event} if event else {}, content, "build")


def test_markdown_becomes_plain_text() -> None:
    written = (
        '# Title\n\n**bold**, _it_, `a_b*c*`, ~~gone~~ [a](https://x.example "t") ![](https://y.example)\n'
        "* item\n> said\n\n---\n```python\na * b * c\n```\n<@U1|jane> <!here> snake_case_name 2*3*4 &lt;b&gt;"
    )
    assert plain(written) == (
        "Title\nbold, it, a_b*c*, gone a (https://x.example) https://y.example\n"
        "- item\nsaid\na * b * c\njane @here snake_case_name 2*3*4 <b>"
    )


def assert_linear(act: Callable[[int], object], small: int, large: int) -> None:
    """Check that the time grows with the size alone: of what took seconds once, it grew with the square."""

    def seconds(size: int) -> float:
        started = time.process_time()
        act(size)
        return time.process_time() - started

    assert seconds(large) < 0.2 + 40 * seconds(small)


EVIL = ["**a ", "[a](", "[a](<", "*a ", "<http://a", "`", "```a`", "<@", "> ", "** a", "\n", "_a"]


@pytest.mark.parametrize("evil", EVIL)
def test_no_markdown_takes_long(evil: str) -> None:
    assert_linear(lambda length: plain((evil * length)[:length]), MAX_MARKUP // 8, MAX_MARKUP)


@pytest.mark.parametrize(
    ("start", "part", "end"),
    [
        ('"blocks":[', '{"text":"a"}', "]"),
        ('"blocks":[', '{"text":{"text":{"text":{}}}}', "]"),
        ('"blocks":[', '{"elements":[{},{},{},{}]}', "]"),
        ('"attachments":[{"fields":[', '{"value":"' + "**a " * 100 + '"}', "]}]"),
        ('"alerts":[{"labels":{', '"%d":""', "}}]"),
        ('"text":"x","a":[', "[]", "]"),
    ],
)
def test_no_number_of_parts_takes_long(start: str, part: str, end: str) -> None:
    """A body of this size held up everybody for half a minute."""

    def read(size: int) -> None:
        parts = ",".join(part % number if "%" in part else part for number in range(size // len(part)))
        with contextlib.suppress(Uncompliant):
            messages("", f"{{{start}{parts}{end}}}".encode())

    assert_linear(read, 2**16, 2**20)


def test_a_long_text_becomes_up_to_four_messages() -> None:
    words = " ".join(f"word{number}" for number in range(1000))
    parts = pieces(words, 255)
    assert [len(part) <= 255 and part.endswith("…") for part in parts] == [True] * 4
    assert words.startswith(" ".join(part.removesuffix("…") for part in parts))
    assert pieces("x" * 300, 255) == ["x" * 254 + "…", "x" * 46]
    assert pieces("a" * 200 + "\n" + "b c " * 20, 255)[0] == "a" * 200 + "…"
    assert pieces("  \u2800 ", 255) == []
    assert all(len(part) == 1 for part in pieces("xyz", 1))


def test_a_body_is_read_whatever_its_type_says() -> None:
    posted = b'{"text": "x"}'
    for kind in ("application/json", "application/x-www-form-urlencoded", "", "text/plain"):
        assert decode(kind, posted).content == {"text": "x"}
    payload = urlencode({"payload": posted}).encode()
    assert decode("application/x-www-form-urlencoded; charset=utf-8", payload).content == {"text": "x"}
    assert decode("text/plain", b"Build done").content == {"text": "Build done"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *(("application/json", body) for body in (b"", b"[]", b'{"a": NaN}', b'{"a":' * 100_000, b'{"\xff": 1}')),
        ("application/x-www-form-urlencoded", b"payload=%5B%5D"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nno end"),
        ("text/html", b"<p>hello</p>"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(kind: str, body: bytes) -> None:
    with pytest.raises(Uncompliant):
        decode(kind, body)


def test_files_become_pictures_and_layers() -> None:
    layer = json.dumps({"type": "FeatureCollection", "features": []})
    body = form(("text", "", "see"), ("a", "trees.geojson", "\ufeff" + layer), ("b", "p.png", "not really"))
    made = messages("multipart/form-data; boundary=b", body)
    assert [message["type"] for message in made] == ["text", "geojson", "image"]
    assert (made[1]["layer_name"], made[1]["crs_authid"], made[1]["author"]) == ("trees", "EPSG:4326", "build")

    elsewhere = json.dumps({"crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::2056"}}})
    broken = layer + ',"type":"newcomer","newcomer":"ghost","geojson":{}'
    for wrong, words in [
        (form(("a", "a.json", elsewhere)), "WGS 84"),
        (form(*[("a", "a.png", "x")] * 5), "At most 4"),
        (form(("a", "a.json", broken)), "a.json is not JSON"),  # its end would be fields of the message
    ]:
        with pytest.raises(Uncompliant, match=words):
            messages("multipart/form-data; boundary=b", wrong)


def test_what_is_posted_again_has_the_same_ids_where_that_can_be_told() -> None:
    def ids(content: Any, **headers: str) -> list[str | None]:
        posted = json.dumps(content).encode()
        return [one.get("id") for one in messages("application/json", posted, headers)]

    for name, event in (("X-GitHub-Delivery", {"X-GitHub-Event": "ping"}), ("Idempotency-Key", {})):
        one, again, other = (ids({"zen": "x", "text": "x"}, **event, **{name: key}) for key in "aab")
        assert one == again != other
    alert = {"title": "flood", "alerts": [{"status": "firing", "startsAt": "2026-01-01T00:00:00Z"}]}
    later = {**alert, "alerts": [{"status": "firing", "startsAt": "2026-01-01T00:05:00Z"}]}
    assert ids(alert) == ids(dict(reversed(alert.items()))) != ids(later)
    assert ids({"text": "x"}) == [None]


def form(*parts: tuple[str, str, str]) -> bytes:
    """A multipart body of (name, file name, content)."""
    written = ""
    for name, file, content in parts:
        named = f'; filename="{file}"' if file else ""
        written += f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n{content}\r\n'
    return (written + "--b--\r\n").encode()


def messages(kind: str, body: bytes, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The messages of a post, each found to keep the contract."""
    made = messages_of(headers or {}, decode(kind, body), name="build", longest=255, delivery_scope="test")
    parser = MessageParser(settings())
    parsed = [json.loads(parser.parse(msgspec.json.encode(one)).body) for one in made]
    for message, written in zip(parsed, made, strict=True):
        message.pop("timestamp")
        if "id" not in written:
            message.pop("id")
    return parsed
