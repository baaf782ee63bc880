"""What Redis answers when it does not do what it was asked: errors, by the word that each begins with.

RedisError
    MasterNotFoundError     no Sentinel names a master that lives
    ResponseError           Redis answered an error; below it, those that are told apart
"""

WRONG_TYPE = "WRONGTYPE"  # an error of this beginning: a key holds something else than it should


class RedisError(Exception):
    """What was asked of Redis failed, and not for a connection that was lost."""


class MasterNotFoundError(RedisError):
    """No Sentinel that answers knows a master that lives."""


class ResponseError(RedisError):
    """Redis answered an error; `str()` is its text, without the word if that has a class of its own."""


class AuthenticationError(ResponseError):
    """It wants a password, or another one."""


class NoPermissionError(ResponseError):
    """The user may not do that."""


class NoScriptError(ResponseError):
    """It does not know the script of this digest."""


class ReadOnlyError(ResponseError):
    """It is a replica."""


class BusyLoadingError(ResponseError):
    """It is loading its data."""


class MasterDownError(ResponseError):
    """It is a replica, and its master is away."""


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
    """The error that an answer is, as it comes without its leading `-`."""
    word, _, text = answer.partition(" ")
    kind = _BY_WORD.get(word)
    if kind is None:
        return ResponseError(answer)
    # A password where none is set, or one that a server before 6.0 does not take.
    if kind is ResponseError and ("AUTH" in text or "invalid password" in text):
        kind = AuthenticationError
    return kind(text)
