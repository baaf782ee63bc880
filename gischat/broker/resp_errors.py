"""The errors that Redis answers, by the word that each begins with.

RedisError
    MasterNotFoundError     no Sentinel names a living master
    ResponseError           Redis answered with an error; subclasses for those that callers distinguish
"""

WRONG_TYPE = "WRONGTYPE"  # the error code of a command on a key of another type


class RedisError(Exception):
    """A command failed for another reason than a lost connection."""


class MasterNotFoundError(RedisError):
    """No Sentinel that answers names a living master."""


class ResponseError(RedisError):
    """Redis answered with an error; `str()` is its text, without the error code if that has a class of its own."""


class AuthenticationError(ResponseError):
    """Redis requires a password, or another one."""


class NoPermissionError(ResponseError):
    """The Redis user lacks the permission."""


class NoScriptError(ResponseError):
    """Redis does not know the script of this digest."""


class ReadOnlyError(ResponseError):
    """The server is a replica."""


class BusyLoadingError(ResponseError):
    """The server is loading its data."""


class MasterDownError(ResponseError):
    """The server is a replica that is not connected to its master."""


class MovedError(ResponseError):
    """In a cluster: another node has the key."""


class AskError(ResponseError):
    """In a cluster: another node may have the key, which is being moved."""


class TryAgainError(ResponseError):
    """In a cluster: the keys are being moved."""


class ClusterDownError(ResponseError):
    """In a cluster: some slots have no master."""


_BY_WORD: dict[str, type[ResponseError]] = {
    "ERR": ResponseError,
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
    "NOPERM": NoPermissionError,
    "NOSCRIPT": NoScriptError,
    "READONLY": ReadOnlyError,
    "LOADING": BusyLoadingError,
    "MASTERDOWN": MasterDownError,
    "MOVED": MovedError,
    "ASK": AskError,
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": ClusterDownError,
}


def error_of(answer: str) -> ResponseError:
    """Convert the text of an error, without its leading `-`, to the exception."""
    word, _, text = answer.partition(" ")
    kind = _BY_WORD.get(word)
    if kind is None:
        return ResponseError(answer)
    # A password where none is set, or a user name that a server before 6.0 does not know.
    if kind is ResponseError and ("AUTH" in text or "invalid password" in text):
        kind = AuthenticationError
    return kind(text)
