"""Bytes: connections are accepted and cut off, frames read and written, and what is held for all of them is counted.

Nothing here knows of channels, of messages or of Redis.
"""
