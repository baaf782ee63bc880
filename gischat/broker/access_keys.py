"""Access keys of private channels: made by moderators, part of an instance's address, stored in Redis as hashes."""

import secrets
from hashlib import sha256

import msgspec

KEY_BYTES = 20  # random: 160 bits
ID_LENGTH = 12  # hexadecimal digits


class AccessKey(msgspec.Struct, frozen=True):
    """A key to one or more channels as Redis and the fronts store it: its hash and end, without the key itself.

    A plain SHA-256 suffices. Slow, salted hashes protect passwords, which people choose and others guess; 160 random
    bits cannot be guessed.
    """

    id: str  # the beginning of the hash; moderators refer to the key by it
    digest: str  # SHA-256 of the key, hexadecimal
    since: int  # seconds since the epoch
    until: int  # seconds since the epoch
    by: str  # the name that the moderator gave; may be empty
    note: str  # for moderators; may be empty


def new_secret() -> str:
    """Generate a key: hexadecimal digits, which e-mail, forms and dictation do not change."""
    return secrets.token_hex(KEY_BYTES)


def digest_of(secret: str) -> str:
    """The SHA-256 of a key, in hexadecimal; the text may be anything a client sent."""
    return sha256(secret.encode(errors="replace")).hexdigest()


def access_key(secret: str, *, since: int, until: int, by: str, note: str) -> AccessKey:
    digest = digest_of(secret)
    return AccessKey(digest[:ID_LENGTH], digest, since, until, by, note)
