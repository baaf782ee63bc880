"""A Valkey with the users of our example ACL."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tests.support.processes import HOST, ROOT, Valkey

EXAMPLE = (ROOT / "deploy/redis/users.acl").read_text("utf-8")

PASSWORD = "p@ss/w%rd?#:&"  # with all characters reserved in URLs


class GuardedValkey(Valkey):
    """A Valkey with the example's users for one instance, minus the permissions in `without`."""

    def __init__(self, directory: Path, instance: str, *, without: tuple[str, ...] = ()) -> None:
        super().__init__(directory)
        acl = EXAMPLE.replace("CHANGE-THIS-TOO", "root").replace("CHANGE-THIS", PASSWORD)
        acl = acl.replace("{gischat:", f"{{{instance}:")
        for command in without:
            assert f" +{command}" in acl
            acl = acl.replace(f" +{command}", "", 1)
        (directory / "users.acl").write_text(acl)
        self._command += ["--aclfile", str(directory / "users.acl")]
        self.admin: Any = redis.Redis(host=HOST, port=self.port, db=1, password="root", retry=Retry(NoBackoff(), 0))

    @property
    def url(self) -> str:
        """The instance's URL, with a database of its own."""
        return f"redis://gischat:{quote(PASSWORD, safe='')}@{HOST}:{self.port}/1"

    def refusals(self) -> set[str]:
        """The commands and keys that were refused."""
        return {f"{entry['reason']} {entry['object']}" for entry in self.admin.acl_log()}

    def commands_of(self, *, but: set[str]) -> set[str]:
        """The commands executed so far, including those in scripts, as named in ACLs."""
        return {name.removeprefix("cmdstat_") for name in self.admin.info("commandstats")} - but

    def _answers(self) -> bool:
        try:
            return bool(self.admin.ping())
        except RedisError:
            return False
