"""supervisord's own lines, as all others' are: by the same formatters, in the same format."""

import logging
import os
from collections.abc import Mapping
from typing import Any

from gischat.observability import logs
from gischat.settings import load

LEVELS = {"CRIT": logging.CRITICAL, "ERRO": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO}


def make_plugin(supervisord: Any) -> object:
    """Named in supervisord.conf as an RPC interface, which is how supervisord lets plugins in; it has no calls."""
    format_ = Format()
    for handler in supervisord.options.logger.handlers:
        handler.setFormat(format_)
    return object()


class Format:
    """Stands where supervisord has a format string, and writes `format % values`."""

    def __init__(self) -> None:
        settings = load()
        form = (
            logs.JsonFormatter if settings.log_format == "json" else logs.TextFormatter
        )  # the launcher has decided what `auto` is
        self._formatter = form(logs.Process("supervisord", "supervisord", os.getpid()), logs.secrets_of(settings))

    def __mod__(self, values: Mapping[str, str]) -> str:
        level = LEVELS.get(values["levelname"], logging.DEBUG)
        record = logging.LogRecord("supervisord", level, "", 0, values["message"], None, None)
        return self._formatter.format(record) + "\n"
