"""A channel on this front: its connections, joining, delivery, nicknames, user count."""
