"""Tornado's handlers: what is answered on each path, how it is logged, and how it is described."""
