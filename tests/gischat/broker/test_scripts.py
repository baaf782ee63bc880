"""The texts of scripts: all that a script uses is in it, and no other function."""

from gischat.broker.scripts import _pieces, _used

FLAG = "local function flag(is_set) return is_set and 1 or 0 end\n\n"
USED = "-- Used.\nlocal function used()\n  return 1\nend\n\n"
UNUSED = "-- Not used.\nlocal function unused()\n  return used()\nend\n\n"


def test_functions_are_left_out_if_they_are_not_used() -> None:
    assert "".join(_used(_pieces(FLAG + USED + UNUSED + "return used() -- not unused\n"))).split() == (
        (FLAG + USED + "return used() -- not unused\n").split()
    )
