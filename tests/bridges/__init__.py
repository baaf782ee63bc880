"""Bridges against what they bridge to: a real Synapse, and stand-ins for what it cannot be made to do."""
