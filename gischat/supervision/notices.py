"""Messages of the launcher during start-up: plain lines for people, or JSON log records."""

import logging
import os
import sys

from gischat.observability import logs
from gischat.settings import Settings

log = logging.getLogger(__name__)


def tell(settings: Settings, message: str) -> None:
    """Write a message to the standard output."""
    if logs.is_json(settings.log_format, sys.stdout):
        logs.set_up(logs.Process("launcher", "launcher", os.getpid()), settings, sys.stdout)
        log.info(message)
    else:
        print(f"gischat: {message}", flush=True)
