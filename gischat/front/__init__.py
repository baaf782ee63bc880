"""The front: checks and enqueues what clients send; hands what workers publish to every socket of a room."""
