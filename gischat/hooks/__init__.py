"""Hooks: incoming ones, by which other programs post messages, and outgoing ones, which post a channel's messages."""
