"""The benchmark: the costs of a full room, compared with our goals. Run it with `make bench`.

__main__.py   command line: what is measured, how often
scenes.py     scenarios
goals.py      goals, and the costs for capacity planning
crowd.py      load generator: processes with thousands of websocket clients each
payloads.py   payloads: photos, layers
house.py      the system under test: a Valkey, fronts, workers; their CPU time and memory
proxy.py      nginx before a front
senders.py    baselines: bare send()s in C (floor.c), and the fan-out alone (fan_out.py)
report.py     tables, JSON and the plot (plot.py), and their copies in the documents
"""
