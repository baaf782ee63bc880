"""Tracing of messages by OpenTelemetry: one trace per message, from the sender's front to all delivering fronts.

    send {channel}/inbox/{lane}         the front, until the job is in its inbox
      process {channel}/inbox/{lane}    the worker, from reading the job to its end
        send {channel}/outbox           … until it is published
      process {channel}/outbox          each front, until the frame is written to its sockets

Spans follow the semantic conventions for messaging and contain no users' text. The trace context is part of the
streams' entries (see `Source.trace`), never of messages to clients. This module is imported only if tracing is enabled:
then the traced methods are wrapped when a process starts.

The SDK reads its settings (OTEL_EXPORTER_OTLP_…, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, …) from the environment.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gischat import __version__
from gischat.broker.entries import COUNT, HEARTBEAT, LEAVE, RESTORE, TRACE_MARK, Job, Publication, Source
from gischat.broker.inbox_consumer import Delivery
from gischat.broker.keys import GROUP
from gischat.settings import Settings

INTERNAL = frozenset({COUNT, LEAVE, RESTORE, HEARTBEAT})  # not sent by clients
MAX_REMEMBERED = 10_000  # jobs in flight, per front or worker

INBOX, OUTBOX = "inbox/{lane}", "outbox"

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """The tracer of a process."""

    def __init__(self, kind: str, settings: Settings) -> None:
        ours = {
            "service.name": f"gischat-{kind}",
            "service.namespace": settings.instance_id,
            "service.version": __version__,
            "service.instance.id": f"{settings.process_name}@{socket.gethostname()}/{os.getpid()}",
        }
        # The environment takes precedence.
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._exporter = OTLPSpanExporter()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        # Each failed attempt is a warning of five lines; giving up a batch is an error.
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        self._tracer = self._provider.get_tracer("gischat", __version__)

    async def shut_down(self, seconds: float) -> None:
        """Send pending spans, for at most `seconds`."""
        giving_up = asyncio.get_running_loop().call_later(seconds, self._exporter.shutdown)
        await asyncio.to_thread(self._provider.shutdown)
        giving_up.cancel()

    def trace_front(self, front: Any) -> Self:
        """Trace a front's jobs and deliveries (`gischat.front.services.Services`)."""
        Sending(self._tracer, front.broker.inbox)
        for channel, room in front.rooms.items():
            room.deliver = Delivering(self._tracer, channel, room.deliver)
        return self

    def trace_consumer(self, consumer: Any) -> None:
        """Trace the jobs of a worker's consumer (`worker.consumer.Consumer`)."""
        Processing(self._tracer, consumer.inbox, consumer.committer)


class Sending:
    """Wraps an inbox' `enqueue` and `job_status`: starts a trace for each message."""

    def __init__(self, tracer: Tracer, inbox: Any) -> None:
        self._tracer = tracer
        self._enqueue, self._job_status = inbox.enqueue, inbox.job_status
        self._in_flight: dict[int, Source] = {}  # by connection, which has at most one job in flight
        inbox.enqueue, inbox.job_status = self.enqueue, self.job_status

    def enqueue(self, channel: str, lane: str, job: Job, *position: Any, again: bool = False) -> Any:
        if again or not job.id or job.type in INTERNAL:
            return self._enqueue(channel, lane, self._as_sent(job), *position, again=again)
        span = _start(self._tracer, "send", channel, INBOX, lane, job.id, SpanKind.PRODUCER, Context())
        span.set_attributes({"messaging.message.body.size": job.size, "gischat.type": job.type})
        job = replace(job, source=job.source._replace(trace=_written(span)))
        self._in_flight[job.source.connection] = job.source
        if len(self._in_flight) > MAX_REMEMBERED:
            del self._in_flight[next(iter(self._in_flight))]
        answered = self._enqueue(channel, lane, job, *position)
        answered.add_done_callback(partial(_end, span))
        return answered

    def job_status(self, channel: str, lane: str, job: Job, *which: Any) -> Any:
        return self._job_status(channel, lane, self._as_sent(job), *which)

    def _as_sent(self, job: Job) -> Job:
        """The job with the source of its first attempt, if it is a repetition."""
        sent = self._in_flight.get(job.source.connection)
        return replace(job, source=sent) if sent is not None and sent[:3] == job.source[:3] else job


class Delivering:
    """Wraps a room's `deliver`: adds the last span of a trace."""

    def __init__(self, tracer: Tracer, channel: str, deliver: Callable[[Sequence[Publication]], None]) -> None:
        self._tracer = tracer
        self._channel = channel
        self._deliver = deliver

    def __call__(self, publications: Sequence[Publication]) -> None:
        since = time.time_ns()
        self._deliver(publications)
        for one in publications:
            if one.source is not None and one.source.trace and (one.is_broadcast or one.to):
                context = _read(one.source)
                id = one.id.decode()
                _start(self._tracer, "process", self._channel, OUTBOX, "", id, SpanKind.CONSUMER, context, since).end()


class Processing:
    """Wraps the methods that give a consumer its jobs and commit them: traces the time between."""

    def __init__(self, tracer: Tracer, inbox: Any, committer: Any) -> None:
        self._tracer = tracer
        self._commit = committer.commit
        self._taken: dict[tuple[str, bytes], int] = {}
        committer.commit = self.commit
        deliveries, claim = inbox.deliveries, inbox.claim
        inbox.deliveries = lambda answer: [self._take(one) for one in deliveries(answer)]

        async def claim_and_take(channel: str, entry: bytes) -> Any:
            return self._take(await claim(channel, entry))

        inbox.claim = claim_and_take

    def _take(self, claimed: Any) -> Any:
        if isinstance(claimed, Delivery) and claimed.job.source.trace:
            self._taken[claimed.channel, claimed.entry] = time.time_ns()
            if len(self._taken) > MAX_REMEMBERED:  # released, or claimed by other workers
                del self._taken[next(iter(self._taken))]
        return claimed

    def commit(self, delivery: Delivery, effect: Any, **how: Any) -> Any:
        ended = self._commit(delivery, effect, **how)
        job = delivery.job
        if not job.source.trace:
            return ended
        since = self._taken.pop((delivery.channel, delivery.entry), None)
        of_inbox = (delivery.channel, INBOX, str(delivery.lane), job.id)
        process = _start(self._tracer, "process", *of_inbox, SpanKind.CONSUMER, _read(job.source), since)
        process.set_attributes(
            {
                "messaging.consumer.group.name": GROUP,
                "messaging.message.body.size": job.size,
                "gischat.type": job.type,
                "gischat.effect": type(effect).__name__,
            }
        )
        within = trace.set_span_in_context(process, Context())
        send = _start(self._tracer, "send", delivery.channel, OUTBOX, "", job.id, SpanKind.PRODUCER, within)
        ended.add_done_callback(partial(_end, send))
        ended.add_done_callback(partial(_end, process))
        return ended


def _start(
    tracer: Tracer,
    operation: str,
    channel: str,
    destination: str,
    lane: str,
    id: str,
    kind: SpanKind,
    context: Context,
    since: int | None = None,
) -> Span:
    template = "{channel}/" + destination.format(lane=lane)
    attributes = {
        "messaging.system": "redis",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": template.format(channel=channel),
        "messaging.destination.template": template,
        "messaging.message.id": id,
    }
    return tracer.start_span(f"{operation} {template}", context, kind, attributes, start_time=since)


def _end(span: Span, answered: Any) -> None:
    """End a span when a command to Redis is done."""
    error = None if answered.cancelled() else answered.exception()
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _written(span: Span) -> str:
    """A span's context, for stream entries; empty if it is not sampled."""
    if not span.get_span_context().trace_flags.sampled:
        return ""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span, Context()))
    return TRACE_MARK + carrier["traceparent"]


def _read(source: Source) -> Context:
    return _propagator.extract({"traceparent": source.trace.removeprefix(TRACE_MARK)}, Context())
