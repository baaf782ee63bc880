"""Timings: every lease, timeout, interval, grace period and retry delay of the processes, in one frozen object.

These are no settings: what an operator may want to change is in `gischat.settings`. Components are passed a `Timings`,
or the numbers that they need; tests pass scaled ones.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Durations in seconds.

    Raises:
        ValueError: they contradict each other.
    """

    # Connections to Redis
    redis_connect: float = 2.0  # connection timeout: far more than a connection to another continent takes
    redis_retry: float = 0.2  # between connection attempts: finds a restarted server soon without flooding it
    redis_command_timeout: float = 3.0  # that a command waits for a connection: the duration of a failover
    redis_answer: float = 5.0  # answer timeout of a command: longer than any of our scripts runs
    redis_quiet: float = 2.0  # of unreachability before it is logged: at start-up Redis may be ready a moment later
    redis_log_interval: float = 60.0  # between two log lines that Redis cannot be reached
    read_pause: float = 0.05  # after a read that failed at once, so that the loop does not spin
    read_fault_pause: float = 1.0  # after a read with an unexpected answer, which is logged
    outbox_read: float = 2.0  # blocking timeout of a front's XREAD
    outbox_read_aside: float = 0.01  # likewise, while the body of a publication is fetched: its channel then goes on
    inbox_read: float = 1.0  # blocking timeout of a worker's read; a worker notices a shutdown within it
    history_answer: float = 30.0  # answer timeout of a history, which may be long and queued behind others

    # Presence
    lease: float = 8.0  # lifetime of a front's lease without renewal: several renewals may fail
    lease_renewal: float = 1.0  # between renewals of the lease
    count: float = 0.25  # throttle of user counts, published by a front and delivered to a room: looks immediate
    # (more than so many users, throttle of the counts delivered to their room): for each count every QGIS fetches the
    # list of users. A front spends less than a thirtieth of a core on counts, however large its rooms are.
    count_of_many: tuple[tuple[int, float], ...] = ((30_000, 30.0), (10_000, 10.0), (300, 3.0), (50, 1.0))
    # For a nickname's owner to answer when another connection of its address wants the nickname,
    challenge_own: float = 10.0
    # or when another address wants it and the owner's system has acknowledged the ping: its QGIS may be computing.
    challenge_other: float = 30.0

    # Live positions
    live: float = 1.0  # throttle of live positions, between fronts and to a client
    live_renewal: float = 15.0  # between two publications of all live positions, for fronts that started later
    live_lost: float = 50.0  # after which a live position without renewal ends: several renewals may fail
    live_kept: float = 60.0  # expiry of the stream of live positions in Redis

    # Recovery from what Redis loses
    redis_loss: float = 3.0  # of writes that a restarted Redis may lose (appendfsync everysec: two)
    replay: float = 30.0  # that a front keeps clients' messages for replay: a restart of Redis plus `redis_loss`
    settling: float = 15.0  # after a loss until everything lost is published again, images included
    ids: float = 600.0  # that message ids are remembered for deduplication: longer than any client retries
    reaped: float = 3600.0  # that a front which was reaped by mistake can still recover the presence of its clients
    dead_letters: float = 30 * 24 * 3600.0  # that dead letters are kept: an operator's holidays
    body_chunk: float = 60.0  # expiry of a body's chunks until their job is enqueued or committed

    # Client connections
    retry: float = 1.0  # before retrying what failed in Redis
    overdue: float = 2.0  # in flight before a job's state is looked up: a light job takes milliseconds
    give_up: float = 6.0  # of re-enqueuing a job that Redis does not have, until its sender is told
    resend: float = 0.5  # before re-enqueuing a job that may be lost; its sender's queue is held up meanwhile
    flood_close: float = 1.0  # that a client which floods us gets to read why the connection is closed
    close_answer: float = 5.0  # for the client's answer to our close frame
    late: float = 1.0  # by which a periodic check may wake late; beyond it the process was frozen and read nothing
    upload_window: float = 60.0  # in which a message must make progress: allows for half a minute without network
    upload_look: float = 5.0  # between two checks of uploads' progress

    # HTTP
    http_idle: float = 60.0  # idle timeout between two requests
    http_answer: float = 120.0  # for a request's body and its answer: a history may be long and a phone slow
    http_look: float = 0.5  # between two checks for slow requests
    accept_pause: float = 0.5  # before accepting again when no file descriptor was left
    answer_kept: float = 1.0  # that a cached answer is served when the front is not notified of changes
    hook: float = 5.0  # that a post to a hook waits for its messages to be published: GitHub gives up after ten
    hook_body: float = 60.0  # for receiving a picture that is posted to a hook
    publish: float = 15.0  # that a PUT waits for its message to be published
    wrong_token: float = 1.0  # delay of the answer to a wrong token
    wrong_tokens: float = 60.0  # window in which the wrong tokens and keys of an address are counted
    key_check: float = 3600.0  # longest interval between two checks for keys that have ended
    retry_after: float = 30.0  # Retry-After where nothing more exact is known
    geopackage: float = 60.0  # for writing a GeoPackage, in wall-clock time
    preflight: float = 600.0  # that a browser may cache a CORS preflight (Access-Control-Max-Age)
    scrape: float = 1.0  # for the queries to Redis during a scrape; Prometheus' own timeout is ten seconds
    drops_quiet: float = 60.0  # between two log lines about one kind of rejection
    survey: float = 1.0  # for all fronts to answer a survey, while a moderator waits
    survey_poll: float = 0.03  # between two checks for answers
    survey_answer: float = 10.0  # expiry of an answer

    # Shutdown; in total less than a supervisor waits
    drain: float = 4.0  # for messages received before the shutdown
    shutdown_spread: float = 1.0  # over which the close frames are spread, so that clients do not all reconnect at once
    leave: float = 3.0  # for publishing the end of all connections
    requests_at_shutdown: float = 1.0  # for connections accepted just before shutdown
    redis_unavailable: float = 3.0  # that a worker waits for an unreachable Redis
    sentry_flush: float = 2.0  # for the events not yet sent

    # Health
    heartbeat: float = 1.0  # between two heartbeats of the round-trip probe
    heartbeat_lost: float = 5.0  # without a heartbeat until a front counts as unready: messages are not delivered
    subscriber_stalled: float = 5.0  # until a publication must have arrived, or the subscriber reconnects
    consumer_stalled: float = 20.0  # until a worker's loop must make progress, or its process exits
    hung: float = 60.0  # until an event loop must turn, or its process exits: no callback takes a second
    sample: float = 0.5  # between two measurements of a process
    gauges: float = 1.0  # between two updates of the gauges of a front's clients

    # Workers
    reclaim_light: float = 5.0  # until a light job is reclaimed: a live worker takes a thousandth of that for a batch
    reclaim_heavy: float = 12.0  # … a heavy job; a live worker renews its claim several times in that time
    maintenance: float = 1.0  # between two searches for such jobs and for expired leases
    nickname_repair: float = 30.0  # between two checks of all nicknames of a channel: thousands take milliseconds
    crs: float = 1.0  # of CPU time for parsing a CRS: the slowest known one takes a twentieth
    job_held: float = 1.0  # before another claim of a job that another worker held, and may have released
    work_heard: float = 0.1  # between two reads of the other heavy workers' charges
    consumers: float = 600.0  # between two searches for dead workers' consumer names …
    consumer_gone: float = 3600.0  # … that have been idle for so long

    # A bridge to another chat
    bridge_retry: float = 1.0  # before the first attempt after one that failed; it doubles …
    bridge_retry_longest: float = 60.0  # … up to this
    bridge_patience: float = 60.0  # that a message is resent to a channel whose inbox is full
    bridge_silent: float = 1800.0  # that a person of the other chat stays registered after the last message
    bridge_lock: float = 20.0  # expiry of the bridge's lock without renewal
    bridge_poll: float = 30.0  # that the other chat may wait for events (long polling)
    bridge_answer: float = 20.0  # timeout of all its other answers
    bridge_file: float = 60.0  # timeout of the transfer of a file

    # Timeouts of operators' commands
    check_front: float = 3.0  # on this machine
    check_address: float = 10.0  # through the proxy, from anywhere
    admin_connect: float = 5.0
    admin_answer: float = 30.0  # at worst, deleting all messages of a large instance

    def __post_init__(self) -> None:
        relations = {
            "several renewals of a lease may fail": self.lease >= 4 * self.lease_renewal,
            "several heartbeats may fail": self.heartbeat_lost >= 4 * self.heartbeat,
            "the subscriber's lag is checked at the renewals": self.subscriber_stalled >= 2 * self.lease_renewal,
            "what Redis may lose can be replayed": self.replay >= self.redis_loss,
            "a lost job is enqueued again before it is given up": self.give_up >= 2 * self.overdue,
            "a dead worker's job is taken over before its sender has waited too long": self.reclaim_light
            + 2 * self.maintenance
            < self.light_end,
            "what is published again is deduplicated by its id": self.ids >= self.settling,
            "a challenged owner's system is checked first": self.challenge_other >= self.challenge_own,
            "several renewals of a live position may fail": self.live_lost >= 3 * self.live_renewal,
            "an answer to a survey lives until the survey ends": self.survey_answer >= self.survey,
            "a live worker makes progress in time": self.consumer_stalled
            >= 2 * max(self.inbox_read, self.heavy_renewal),
        }
        broken = [relation for relation, holds in relations.items() if not holds]
        if broken:
            raise ValueError(f"timings that contradict each other: {'; '.join(broken)}")

    @property
    def light_end(self) -> float:
        """The longest until a light message is echoed or refused, while its front and a worker live and Redis answers.

        A lost job is noticed when overdue (checked every quarter of that time), enqueued again, and given up. A job of
        a dead worker is reclaimed sooner.
        """
        return self.give_up + 4 * self.overdue

    @property
    def seen(self) -> float:
        """That a front remembers delivered ids: less than Redis, which publishes no id twice that it remembers."""
        return 0.95 * self.ids

    @property
    def outbox_answer(self) -> float:
        """Answer timeout of a front's blocking read."""
        return self.outbox_read + self.redis_answer

    @property
    def inbox_answer(self) -> float:
        """Answer timeout of a worker's blocking read."""
        return self.inbox_read + self.redis_answer

    @property
    def reap_grace(self) -> float:
        """Before leases are reaped after an outage of Redis: all may have expired, and live ones renew first."""
        return self.lease

    @property
    def heavy_renewal(self) -> float:
        """Between two renewals of a heavy worker's claim on its job: several may fail."""
        return self.reclaim_heavy / 4
