"""`gischat nginx NAME [HOST:PORT ...]`: prints an nginx site for this instance."""

from collections.abc import Sequence

from gischat.supervision.instance import read_instance
from gischat.supervision.nginx_site import site
from gischat.timings import Timings


def main(arguments: Sequence[str], _: Timings) -> int:
    print(site(read_instance().settings, arguments), end="")
    return 0
