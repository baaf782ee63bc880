"""Keys that open private channels: made by moderators, put into an instance's address, kept in Redis as hashes."""

import secrets
from hashlib import sha256

import msgspec

KEY_BYTES = 20  # of randomness: 160 bits
ID_LENGTH = 12  # hexadecimal digits


class AccessKey(msgspec.Struct, frozen=True):
    """A key to one or more channels, as Redis and the fronts know it: without the key itself.

    A plain SHA-256 is enough for that. Slow hashes with salts protect passwords, which people choose and others guess;
    nobody guesses 160 random bits, with or without the hash.
    """

    id: str  # by which moderators name it: the beginning of the hash
    digest: str  # SHA-256 of the key, hexadecimal
    since: int  # seconds since the epoch
    until: int
    by: str  # whoever a moderator says to be; may be empty
    note: str  # for moderators; may be empty


def new_secret() -> str:
    """A new key: hexadecimal digits, which survive every mail program, form and dictation."""
    return secrets.token_hex(KEY_BYTES)


def digest_of(secret: str) -> str:
    """What a key is known by, whatever text that may be."""
    return sha256(secret.encode(errors="replace")).hexdigest()


def access_key(secret: str, *, since: int, until: int, by: str, note: str) -> AccessKey:
    digest = digest_of(secret)
    return AccessKey(digest[:ID_LENGTH], digest, since, until, by, note)
