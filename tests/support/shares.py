"""Who is admitted where ten messages of a size have room: in a front as in an inbox of the heavy lane."""

JANE, JOHN, JACK, JOAN, JOSH, JILL = (f"192.0.2.{number}" for number in range(1, 7))
ROOM = 10
ADMITTED, ADDRESS_FULL, FULL = "enqueued", "address_queue_full", "full"
# As they come: whose, and what comes of it
SHARES = [
    *[(JANE, ADMITTED)] * 5,
    (JANE, ADDRESS_FULL),
    *[(JOHN, ADMITTED)] * 2,
    (JOHN, ADDRESS_FULL),
    (JACK, ADMITTED),
    (JACK, ADDRESS_FULL),
    (JOAN, ADMITTED),
    (JOSH, ADMITTED),
    (JILL, FULL),
]
