"""Access control: client addresses, origins, private channels, bans, and the moderators' token."""
