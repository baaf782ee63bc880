"""The arguments of orders, which moderators send to all participants through the outbox; answers to surveys."""

import os
import socket
from collections.abc import Sequence

import msgspec


class Connected(msgspec.Struct, frozen=True):
    """A connection as moderators see it, or a person whom a bridge has registered."""

    number: int  # the connection's id on its front
    channel: str
    nickname: str | None
    address: str  # of a bridge's person: the bridge's kind
    since: int  # seconds since the epoch


class FrontConnections(msgspec.Struct, frozen=True):
    """The answer of a front or bridge to a survey."""

    front: str
    host: str
    pid: int
    connections: list[Connected]


class SurveyRequest(msgspec.Struct, frozen=True):
    """A survey: asks all fronts for their connections, in one channel or in all (None)."""

    call: str  # the survey's id
    channel: str | None


class Disconnection(msgspec.Struct, frozen=True):
    """An order to disconnect the connection registered under a nickname."""

    nickname: str
    reason: str


class Deletion(msgspec.Struct, frozen=True):
    """An order to delete messages: those with the ids, or all that were published before."""

    all: bool
    ids: list[str]


def survey_answer(front: str, connections: Sequence[Connected]) -> bytes:
    """Encode this process' answer to a survey."""
    return msgspec.json.encode(FrontConnections(front, socket.gethostname(), os.getpid(), list(connections)))
