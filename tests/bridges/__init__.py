"""Bridges against a real Synapse, and a stand-in of Telegram's Bot API."""
