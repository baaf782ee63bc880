"""Bearer tokens, as they are shown and compared."""

import pytest

from gischat import bearer


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer s3cret", b"s3cret"),
        ("bearer  s3cret ", b"s3cret"),
        ("Basic s3cret", b""),
        ("s3cret", b""),
        ("Bearer", b""),
        ("", b""),
        ("Bearer clé".encode().decode("latin-1"), "clé".encode()),
    ],
)
def test_a_token_is_shown_by_its_scheme_in_the_bytes_as_they_came(header: str, token: bytes) -> None:
    assert bearer.from_headers({"Authorization": header}) == token


def test_one_of_several_may_be_shown() -> None:
    digests = [bearer.digest("s3cret"), bearer.digest("clé")]
    assert bearer.matches("clé".encode(), digests)
    assert not bearer.matches(b"s3cre", digests)
    assert not bearer.matches(b"", digests)
    assert not bearer.matches(b"", [])
