"""A channel, as far as this front has it: its connections, the room that they are in, who is there and who must go."""
