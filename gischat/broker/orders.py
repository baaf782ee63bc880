"""Orders of moderators, which go to every participant through a channel's outbox, and the answer to a survey."""

import os
import socket
from collections.abc import Sequence

import msgspec


class Connected(msgspec.Struct, frozen=True):
    """A connection, as moderators see it; or somebody whom a bridge has registered."""

    number: int  # of its front
    channel: str
    nickname: str | None
    address: str  # of a bridge's people, its kind
    since: int  # seconds since the epoch


class FrontConnections(msgspec.Struct, frozen=True):
    """What a front, or a bridge, answers to a survey."""

    front: str
    host: str
    pid: int
    connections: list[Connected]


class SurveyRequest(msgspec.Struct, frozen=True):
    """A question to every front: who is connected? Of one channel, or of all."""

    call: str
    channel: str | None


class Disconnection(msgspec.Struct, frozen=True):
    """A connection to be closed."""

    nickname: str
    reason: str


class Deletion(msgspec.Struct, frozen=True):
    """Messages that are taken back; `all`: whatever was said in the channel before."""

    all: bool
    ids: list[str]


def survey_answer(front: str, connections: Sequence[Connected]) -> bytes:
    """What this process answers to a survey."""
    return msgspec.json.encode(FrontConnections(front, socket.gethostname(), os.getpid(), list(connections)))
