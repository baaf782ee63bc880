"""Nicknames for people of other chats: allowed by the contract, recognisable, the same each time. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator

_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
DIGEST_LENGTHS = (4, 8)  # of hexadecimal digits that tell two people apart whose nicknames would be one


def candidates(person: str, name: str = "", *, shortest: int, longest: int) -> Iterator[str]:
    """The nicknames that somebody may bear, the best first; the later ones are for when that is taken.

    `alice:example.org` is `alice-example-org`. The server stays in it: anybody may be alice on a server of their own.
    Where letters had to be left out or cut off, or capitals matter, two people could be called the same: then a digest
    of the whole identity follows, as it does in the later ones.

    Args:
        person: what the other chat knows somebody by, and nobody else.
        name: what they are called there, where that is something else: a nickname and a server, which nobody else has
            at the time, or any words.
        shortest, longest: characters of a nickname.
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
    """Whether no other person comes to this nickname: each sign that was replaced can be told from where it stands."""
    name, _, server = person.partition(":")
    is_name = re.fullmatch(r"[a-z0-9_]+", name)
    is_server = re.fullmatch(r"[a-z0-9]+(\.[a-z0-9]+)*", server)
    return bool(is_name and (is_server or not server)) and plain == person.replace(":", "-").replace(".", "-")
