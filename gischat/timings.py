"""Every lease, timeout, interval, grace and retry delay of the processes, in one frozen object.

Nobody needs to set these: what an operator may want to set stands in the settings. Parts are handed a `Timings`, or the
numbers of it that they need; tests hand in others.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """All in seconds.

    Raises:
        ValueError: they contradict each other.
    """

    # A connection to Redis
    redis_connect: float = 2.0  # to connect: far more than another continent takes
    redis_retry: float = 0.2  # between two attempts: a server that comes back is found at once, and not besieged
    redis_command_timeout: float = 3.0  # that a command waits for a connection before it is refused: a failover's time
    redis_answer: float = 5.0  # that a server that owes an answer may say nothing: longer than any script of ours runs
    redis_quiet: float = 2.0  # before the log says that Redis cannot be reached: at a start it may be a moment behind
    redis_log_interval: float = 60.0  # between two such lines of the log
    read_pause: float = 0.05  # after a read that failed at once, which would spin otherwise
    read_fault_pause: float = 1.0  # … with an answer that was not expected, and is logged
    outbox_read: float = 2.0  # that a front's read waits for something to come
    inbox_read: float = 1.0  # … and a worker's, which stops within it when it is told to
    history_answer: float = 30.0  # for a history, which may be long, and waits behind others

    # Who is there
    lease: float = 8.0  # that a front counts as alive after its last sign of life: several of these may fail
    lease_renewal: float = 1.0  # between two signs of life
    count: float = 0.25  # between two counts that a front tells, or a room is told: it looks immediate
    # … that a room is told, from so many people on: at each of them every QGIS asks for the list of users.
    count_of_many: tuple[tuple[int, float], ...] = ((300, 3.0), (50, 1.0))
    challenge_own: float = 10.0  # for an answer to somebody of the same address who wants one's nickname
    challenge_other: float = 30.0  # … to anybody else, when one's system has taken the ping: a QGIS that computes

    # What Redis may lose, and what is remembered for that case
    redis_loss: float = 3.0  # before it was last heard of (appendfsync everysec: two)
    replay: float = 30.0  # that a front remembers what its clients have said: a restart of Redis, and its loss
    settling: float = 15.0  # until all is published again that Redis had lost, pictures too
    ids: float = 600.0  # that a message's id is remembered: a client that sends it again has given up long before
    reaped: float = 3600.0  # that a front which was taken for dead can tell that its people are still there
    dead_letters: float = 30 * 24 * 3600.0  # that what could not be done is kept to be seen: an operator's holidays
    body_chunk: float = 60.0  # that a part of a body stays when its job is not taken: the rest comes in less

    # A client's connection
    retry: float = 1.0  # before something is tried again that Redis could not do
    overdue: float = 2.0  # before it is asked what became of a job in flight: a light one takes milliseconds
    give_up: float = 6.0  # that one is enqueued again of which there is nothing in Redis, before its sender is told
    resend: float = 0.5  # before a job is enqueued again that may have been lost, which holds up its sender
    flood_close: float = 1.0  # for somebody who sends without end to read why the connection ends
    close_answer: float = 5.0  # for the client's answer to our close frame
    late: float = 1.0  # that a look at who is silent may come too late: else we were frozen, and have read nothing
    upload_window: float = 60.0  # in which a message must make progress: a lost signal of half a minute is made up for
    upload_look: float = 5.0  # between two looks at that

    # HTTP
    http_idle: float = 60.0  # between two requests
    http_answer: float = 120.0  # for a request's body and its answer: a history may be long and a phone slow
    http_look: float = 0.5  # between two looks at who takes too long
    accept_pause: float = 0.5  # when no descriptor is left
    answer_kept: float = 1.0  # that an answer is kept for all who ask, if its front does not hear of what changes it
    publish: float = 15.0  # that a PUT waits for its message to be published
    wrong_token: float = 1.0  # that the answer to a wrong token takes
    wrong_tokens: float = 60.0  # in which an address may show only so many of them
    retry_after: float = 30.0  # when to try again where nobody knows better
    geopackage: float = 60.0  # for a GeoPackage to be made, by the clock
    preflight: float = 600.0  # that a browser may remember what it was told of methods and headers
    scrape: float = 1.0  # for what Redis is asked during a scrape, which Prometheus waits ten seconds for
    drops_quiet: float = 60.0  # between two lines of the log about the same kind of client that is turned away
    survey: float = 1.0  # for all fronts to say who is connected: a moderator waits for it
    survey_poll: float = 0.03  # between two looks at who has answered
    survey_answer: float = 10.0  # that an answer is there to be read

    # The end of a process. Together less than a supervisor waits.
    drain: float = 4.0  # for what clients sent before
    shutdown_spread: float = 1.0  # over which the goodbyes are spread, so that not all come back at once
    leave: float = 3.0  # for the channels to be told
    requests_at_shutdown: float = 1.0  # for who has come right before the server stopped
    redis_unavailable: float = 3.0  # that a worker waits for a Redis that is away
    sentry_flush: float = 2.0  # for what is to be reported yet

    # Whether a process is well
    heartbeat: float = 1.0  # between two
    heartbeat_lost: float = 5.0  # without one: messages do not go round, and no client is to come
    subscriber_stalled: float = 5.0  # in which what was published must be heard, or the connection is made anew
    consumer_stalled: float = 20.0  # in which a worker's loop must go on, or its process ends
    hung: float = 60.0  # in which an event loop must turn: nothing that we do holds it for a second
    sample: float = 0.5  # between two measurements of a process
    gauges: float = 1.0  # between two counts of a front's clients, for Prometheus

    # A worker
    reclaim_light: float = 5.0  # after which a job is taken from a worker: it would end a batch in a thousandth of that
    reclaim_heavy: float = 12.0  # … which says several times in between that it still works on it
    maintenance: float = 1.0  # between two looks for such jobs, and for fronts that are gone
    nickname_repair: float = (
        30.0  # between two looks through all nicknames of a channel: milliseconds of Redis for thousands
    )
    crs: float = 1.0  # of the processor's time, to read a CRS: the worst of the known ones takes a twentieth
    job_held: float = 1.0  # after which a job is asked for again that another worker held: it may have given it back
    work_heard: float = 0.1  # between two looks at what other heavy workers did
    consumers: float = 600.0  # between two looks for the names of workers that are gone …
    consumer_gone: float = 3600.0  # … which have not asked for jobs in so long

    # A bridge to another chat
    bridge_retry: float = 1.0  # before the first attempt after one that failed; it doubles …
    bridge_retry_longest: float = 60.0  # … up to this
    bridge_patience: float = 60.0  # that a message is sent again to a channel that is full
    bridge_silent: float = 1800.0  # that somebody who says nothing stays registered
    bridge_lock: float = 20.0  # that a bridge counts as running after its last sign of life
    bridge_poll: float = 30.0  # that the other chat may wait for something to say
    bridge_answer: float = 20.0  # … and for an answer to all else
    bridge_file: float = 60.0  # … and for a file to go over

    # What an operator's command waits for
    check_front: float = 3.0  # on this machine
    check_address: float = 10.0  # through the proxy, from wherever
    admin_connect: float = 5.0
    admin_answer: float = 30.0  # deleting all messages of a large instance, at the worst

    def __post_init__(self) -> None:
        relations = {
            "several renewals of a lease may fail": self.lease >= 4 * self.lease_renewal,
            "several heartbeats may fail": self.heartbeat_lost >= 4 * self.heartbeat,
            "what is heard of is compared at the renewals": self.subscriber_stalled >= 2 * self.lease_renewal,
            "what Redis may lose is remembered": self.replay >= self.redis_loss,
            "what is lost is enqueued again before it is given up": self.give_up >= 2 * self.overdue,
            "a dead worker's job is taken over before its sender has waited too long": self.reclaim_light
            + 2 * self.maintenance
            < self.light_end,
            "what is published again is recognised by its id": self.ids >= self.settling,
            "the system of somebody who does not answer is looked at first": self.challenge_other >= self.challenge_own,
            "an answer to a survey lives as long as it is waited for": self.survey_answer >= self.survey,
            "a worker that waits or works shows itself in time": self.consumer_stalled
            >= 2 * max(self.inbox_read, self.heavy_renewal),
        }
        broken = [relation for relation, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"timings that contradict each other: {'; '.join(broken)}")

    @property
    def light_end(self) -> float:
        """Within which a sender of the light lane hears an end, echo or refusal, while its front and a worker live and
        Redis answers: what is lost is missed (and looked for every quarter of that time), enqueued again, and given up;
        a worker that died has not ended it is seen sooner."""
        return self.give_up + 4 * self.overdue

    @property
    def seen(self) -> float:
        """That a front remembers what it delivered: not as long as Redis, which never publishes an id twice that it
        knows."""
        return 0.95 * self.ids

    @property
    def outbox_answer(self) -> float:
        """For the answer to a read that waits."""
        return self.outbox_read + self.redis_answer

    @property
    def inbox_answer(self) -> float:
        """For the answer to a worker's read that waits."""
        return self.inbox_read + self.redis_answer

    @property
    def reap_grace(self) -> float:
        """After Redis was away, all leases may have run out: first the living shall have time to renew theirs."""
        return self.lease

    @property
    def heavy_renewal(self) -> float:
        """Between two signs that a worker still works on a job: several may fail."""
        return self.reclaim_heavy / 4
