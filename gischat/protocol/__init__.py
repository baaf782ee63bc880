"""What clients and server say to each other; pure: no socket, no Redis, no clock but the timestamp's."""
