"""What every refusal has to be."""

from gischat.errors import Uncompliant


def in_words(refusal: Uncompliant, most: int = 1000) -> str:
    """The reason, found fit to be shown to a user."""
    assert refusal.reason.isprintable()
    assert 0 < len(refusal.reason) < most
    return refusal.reason
