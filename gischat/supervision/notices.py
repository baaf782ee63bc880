"""What the launcher has to say while it starts: a line for people, or a record where the log is one of records."""

import logging
import os
import sys

from gischat.observability import logs
from gischat.settings import Settings

log = logging.getLogger(__name__)


def tell(settings: Settings, message: str) -> None:
    """Says it on the standard output."""
    if logs.is_json(settings.log_format, sys.stdout):
        logs.set_up(logs.Process("launcher", "launcher", os.getpid()), settings, sys.stdout)
        log.info(message)
    else:
        print(f"gischat: {message}", flush=True)
