"""The transport: accepts and aborts connections, reads and writes frames, and counts buffered bytes.

Nothing in this package knows channels, messages or Redis.
"""
