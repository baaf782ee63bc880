"""The bench: what a full room costs, held against issue 4's goals. `make bench`; how it measures is in its modules.

__main__.py   which goals, how often; the table
goals.py      one function per goal: measures it, says what was expected
crowd.py      the load: processes with thousands of websocket clients each
house.py      what is measured: a Valkey, fronts, workers, and the CPU time that they use
senders.py    what it is held against: bare send()s in C (floor.c), and the fan-out alone (fan_out.py)
report.py     the table, the JSON and the plot
"""
