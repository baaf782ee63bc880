"""The wire between fronts and workers: keys, entries, scripts, and the connection to Redis that carries them."""
