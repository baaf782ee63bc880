"""Where nothing is posted to, and how it is signed."""

import pytest

from gischat.hooks.delivery import is_public, sign

NEAR = """
    127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 100.64.0.1 169.254.169.254 0.0.0.0 224.0.0.1 ::1 :: fe80::1%eth0 fc00::1
    ff02::1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: 64:ff9b:1::7f00:1 ::ffff:0:127.0.0.1
    ::127.0.0.1 fec0::1 5f00::1
"""
FAR = ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", [*NEAR.split(), "not an address", ""])
def test_what_is_near_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_what_is_on_the_internet_is_public() -> None:
    assert all(map(is_public, FAR))


def test_the_signature_is_of_the_time_and_the_body() -> None:
    """As `printf '1700000000.{}' | openssl dgst -sha256 -hmac secret` says."""
    expected = "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
    assert sign("secret", 1_700_000_000, b"{}") == expected
