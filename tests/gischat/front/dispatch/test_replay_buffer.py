"""The replay buffer, as a table: bounded in age and bytes, by channel, without deleted messages."""

from types import SimpleNamespace
from typing import Any

import pytest

from gischat.broker.entries import COUNT, HEARTBEAT, LEAVE, RESTORE
from gischat.front.dispatch.replay_buffer import CompletedJob, ReplayBuffer
from gischat.protocol.messages import Message

SECONDS, BYTES = 30, 100


def job(id: str, at: float = 0, *, type: str = "text", channel: str = "here", size: int = 10) -> CompletedJob:
    queue: Any = SimpleNamespace(channel=channel)
    return CompletedJob(at, queue, Message(type, id, b"x" * size))


def taken(*jobs: CompletedJob, since: float = 0) -> list[str]:
    buffer = ReplayBuffer(SECONDS, BYTES)
    for one in jobs:
        buffer.record(one)
    found = [one.message.id for one in buffer.take("here", since)]
    assert buffer.take("here", 0) == [], "what is replayed is recorded anew when it ends"
    return found


@pytest.mark.parametrize(
    ("jobs", "since", "expected"),
    [
        ([job("a"), job("b", 1)], 0, ["a", "b"]),
        ([job("a"), job("b", 1)], 0.5, ["b"]),
        ([job("a"), job("b", SECONDS)], 0, ["a", "b"]),
        ([job("a"), job("b", SECONDS + 1)], 0, ["b"]),
        ([job("a", size=60), job("b", size=40)], 0, ["a", "b"]),
        ([job("a", size=60), job("b", size=41)], 0, ["b"]),
        ([job("a"), job("b", channel="there")], 0, ["a"]),
        ([job(type, type=type) for type in (COUNT, HEARTBEAT, RESTORE, LEAVE)], 0, [LEAVE]),
    ],
)
def test_recent_jobs_of_the_channel_are_replayed(jobs: list[CompletedJob], since: float, expected: list[str]) -> None:
    assert taken(*jobs, since=since) == expected


@pytest.mark.parametrize(("ids", "kept"), [({"a"}, ["b", "come"]), (None, ["come"]), (set(), ["a", "b", "come"])])
def test_deleted_messages_are_not_replayed_but_newcomers_and_exiters_are(ids: set[str] | None, kept: list[str]) -> None:
    buffer = ReplayBuffer(SECONDS, BYTES)
    for one in (job("a"), job("b"), job("come", type="newcomer"), job("a", channel="there")):
        buffer.record(one)
    buffer.delete_messages("here", ids)
    assert [one.message.id for one in buffer.take("here", 0)] == kept
    assert [one.message.id for one in buffer.take("there", 0)] == ["a"]
