"""Syntax trees of our sources."""

import ast
import gc


def parsed(source: str) -> ast.Module:
    """Parse without garbage collection: on Python 3.11 a finalizer that runs meanwhile causes a SystemError."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if was_enabled:
            gc.enable()
