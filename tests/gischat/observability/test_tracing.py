"""Traces of messages: one for each, from front to front, in real processes; and nothing of it where it is off."""

from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gischat.broker.entries import Source
from tests.conftest import StackFactory
from tests.gischat.observability.conftest import Receiver
from tests.support.client import Client
from tests.support.contract import CANARY, sample
from tests.support.waiting import LOOK, until

CHANNEL = "QGIS"


class Span(NamedTuple):
    """What the tests look at in a span."""

    trace: bytes
    id: bytes
    parent: bytes
    process: str
    name: str
    kind: int
    attributes: dict[str, Any]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def spans_of(receiver: Receiver, id: str) -> list[Span]:
    """The spans of a message."""
    resources = [one for body in receiver.bodies for one in ExportTraceServiceRequest.FromString(body).resource_spans]
    return [
        Span(span.trace_id, span.span_id, span.parent_span_id, process, span.name, span.kind, attributes)
        for one in resources
        for process in [_values(one.resource.attributes)["service.instance.id"].partition("@")[0]]
        for scope in one.scope_spans
        for span in scope.spans
        if (attributes := _values(span.attributes))["messaging.message.id"] == id
    ]


@pytest.mark.processes
async def test_a_message_is_one_trace_from_front_to_front(open_stack: StackFactory, receiver: Receiver) -> None:
    otel = {"otel_exporter_otlp_endpoint": f"http://{receiver.address}", "otel_bsp_schedule_delay": 100}
    with open_stack(fronts=2, channels=CHANNEL, **otel) as stack:
        jane = await Client.connect(stack.fronts[0].url, CHANNEL)
        john = await Client.connect(stack.fronts[1].url, CHANNEL)
        for type_, lane in (("text", "light"), ("image", "heavy")):
            await jane.send(**sample(type_))
            message = await john.until(type=type_)  # which has the keys of the contract, and no other
            await until(lambda id=message["id"]: len(spans_of(receiver, id)) == 5, "five spans", every=LOOK)
            spans = spans_of(receiver, message["id"])
            names = [f"send {{channel}}/inbox/{lane}", f"process {{channel}}/inbox/{lane}", "send {channel}/outbox"]
            sent, processed, published = (next(span for span in spans if span.name == name) for name in names)
            delivered = [span for span in spans if span.name == "process {channel}/outbox"]
            assert [span.process for span in (sent, processed, published)] == ["front", f"{lane}-0", f"{lane}-0"]
            assert {span.trace for span in spans} == {sent.trace}
            assert [sent.parent, processed.parent, published.parent] == [b"", sent.id, processed.id]
            assert [span.parent for span in delivered] == [sent.id, sent.id]
            assert [span.kind for span in (sent, processed, published, *delivered)] == [4, 5, 4, 5, 5]
            assert sent.attributes["messaging.destination.name"] == f"{CHANNEL}/inbox/{lane}"
        for client in (jane, john):
            await client.leave()
        stack.assert_quiet_logs()
    assert not [body for body in receiver.bodies if CANARY.encode() in body]


def test_an_entry_that_is_not_traced_has_not_a_byte_more() -> None:
    plain = Source("front", 12, 3)
    traced = plain._replace(trace=";00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert str(plain) == "front/12/3"
    assert Source.parse(b"front/12/3") == plain
    assert Source.parse(str(traced).encode()) == traced
    assert traced.connection_id == plain.connection_id
