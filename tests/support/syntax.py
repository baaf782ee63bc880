"""Sources of ours, as syntax trees."""

import ast
import gc


def parsed(source: str) -> ast.Module:
    """Parses with no garbage collected meanwhile: on Python 3.11 a finalizer that runs then is a SystemError."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if was_enabled:
            gc.enable()
