"""The broker: keys, stream entries, Lua scripts and the pipelined connection, for fronts, workers and bridges."""
