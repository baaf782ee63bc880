"""The bench: what a full room costs, held against our goals. `make bench`; how it measures is in its modules.

__main__.py   what is measured, how often
scenes.py     what is played to measure it
goals.py      what was aimed at, and the costs that an operator reckons with
crowd.py      the load: processes with thousands of websocket clients each
payloads.py   what is sent: photos, layers
house.py      what is measured: a Valkey, fronts, workers; their CPU time and memory
proxy.py      nginx before a front
senders.py    what it is held against: bare send()s in C (floor.c), and the fan-out alone (fan_out.py)
report.py     tables, JSON and the plot (plot.py); what the documents show of them
"""
