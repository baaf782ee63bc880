"""Bridges: participants beside fronts and workers that pass messages between channels and other chats."""
