"""Nicknames for people of other chats: valid, recognisable, and the same each time. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator

_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
DIGEST_LENGTHS = (4, 8)  # hexadecimal digits that distinguish people whose nicknames would be equal


def candidates(person: str, name: str = "", *, shortest: int, longest: int) -> Iterator[str]:
    """The possible nicknames of a person, the best one first; the others are for when it is taken.

    `alice:example.org` becomes `alice-example-org`. The server is included, because anybody may be alice on their own
    server. If letters had to be dropped or truncated, or case matters, two people could get the same nickname: then a
    digest of the whole identity follows, as in the later candidates.

    Args:
        person: the person's unique id in the other chat.
        name: the person's name there, if it is not the id: a name and a server, unique at the time, or any text.
        shortest, longest: the length of a nickname in characters.
    """
    spelled = unicodedata.normalize("NFKD", name or person)
    plain = _OTHER.sub("-", spelled.encode("ascii", "ignore").decode()).strip("-")
    if _is_unique(name or person, plain) and shortest <= len(plain) <= longest:
        yield plain
    digest = hashlib.blake2b(person.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    for length in DIGEST_LENGTHS:
        length = max(length, shortest)
        head = plain[: max(longest - length - 1, 0)].rstrip("-")
        yield f"{head}-{digest[:length]}" if head else digest[: min(max(length, shortest), longest)]


def _is_unique(person: str, plain: str) -> bool:
    """Whether no other person gets this nickname: each replaced character can be inferred from its position."""
    name, _, server = person.partition(":")
    is_name = re.fullmatch(r"[a-z0-9_]+", name)
    is_server = re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", server)
    return bool(is_name and (is_server or not server)) and plain == person.replace(":", "-").replace(".", "-")
