"""Log format of supervisord's own lines: the same formatters as for all other processes."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from gischat.observability import logs
from gischat.settings import load

LEVELS = {"CRIT": logging.CRITICAL, "ERRO": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}


def make_plugin(supervisord: Any) -> object:
    """Set the formatters. supervisord.conf names this function as an RPC interface, supervisord's plugin hook."""
    format_ = Format()
    for handler in supervisord.options.logger.handlers:
        handler.setFormat(format_)
    return object()


class Format:
    """A replacement for supervisord's format string: formats a record on `format % values`."""

    def __init__(self) -> None:
        settings = load()
        form = (
            logs.JsonFormatter if settings.log_format == "json" else logs.TextFormatter
        )  # the launcher has resolved `auto`
        self._formatter = form(logs.Process("supervisord", "supervisord", os.getpid()), logs.secrets_of(settings))

    def __mod__(self, values: Mapping[str, str]) -> str:
        level = LEVELS.get(values["levelname"], logging.DEBUG)
        record = logging.LogRecord("supervisord", level, "", 0, values["message"], None, None)
        return self._formatter.format(record) + "\n"
