"""Whose fault it is.

    Uncompliant     the client's: `reason` goes back to it, its connection lives on
    Refused         nobody's: the house is full or Redis is away; nothing was accepted, the sender is told why

Everything else that is raised is a bug of ours and belongs in a traceback.
"""

from collections.abc import Mapping


class Uncompliant(Exception):
    """What a client sent breaks the contract; `reason` tells its user so in plain words.

    `fields` maps each field at fault to its own reason, where single fields are.
    """

    def __init__(self, reason: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields = dict(fields or {})


class Refused(Exception):
    """What a client sent is right but cannot be taken now; it is certain that it was not taken."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
