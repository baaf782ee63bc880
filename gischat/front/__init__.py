"""The front: checks and enqueues what clients send; hands what workers publish to every socket of a room.

From the top floor down; each imports only those below it:

    app         routes, connections to Redis, the beginning
    handlers/   what is answered on each path
    front       the parts, put together, and their end
    gauges      what is true of them at a moment
    channel/    connections, the room that they are in, who is there
    jobs/       on their way to the workers; all that is asked of Redis
    door/       who may come in, who may speak, how often
    sockets/    bytes
"""
