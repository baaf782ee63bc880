"""Jobs: what clients say, on its way to the workers one after the other; all that is asked of Redis."""
