"""Sentry reports of our bugs, without users' text.

Events are scrubbed by an allow-list: a new event is made from the few fields known to be ours, so that a field which a
later version of the SDK adds is not sent until it is allowed. An exception's message is left out, since it may quote
input; its type and stack tell nearly as much.
"""

from typing import Any

from gischat import __version__
from gischat.observability.logs import Process
from gischat.settings import Settings

# Allowed fields of an event or a transaction, at its top level …
OURS = (
    *("type", "event_id", "timestamp", "start_timestamp", "level", "platform", "logger", "release", "environment"),
    *("server_name", "tags", "sdk", "transaction", "transaction_info"),
)
# … in an exception, and in a frame of its stack …
OF_AN_EXCEPTION = ("type", "module")
OF_A_FRAME = ("filename", "module", "function", "lineno", "pre_context", "context_line", "post_context", "in_app")
# … in a trace …
OF_A_TRACE = ("trace_id", "span_id", "parent_span_id", "op", "status", "origin")
# … and among the fields of a log record.
OF_A_RECORD = ("connection", "request", "channel", "type", "lane")


def set_up(process: Process, settings: Settings) -> None:
    """Start reporting if `SENTRY_DSN` is set; otherwise the SDK is not imported."""
    if not settings.sentry_dsn:
        return
    import sentry_sdk
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    # Auto-enabling ones would record every Redis command with its arguments.
    integrations: list[Any] = [DedupeIntegration(), LoggingIntegration(level=None, sentry_logs_level=None)]
    if process.kind == "front":
        from sentry_sdk.integrations.tornado import TornadoIntegration

        integrations.append(TornadoIntegration())
    sentry_sdk.init(
        settings.sentry_dsn,
        environment=settings.environment,
        release=f"gischat@{__version__}",
        traces_sample_rate=settings.sentry_traces_sample_rate or None,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=integrations,
        before_send=scrubbed,
        before_send_transaction=scrubbed,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        # Each of these would start a thread.
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        enable_metrics=False,
    )
    sentry_sdk.set_tags({"kind": process.kind, "process": process.name, "instance": settings.instance_id})


def flush(settings: Settings, seconds: float) -> None:
    """Send pending events, for at most `seconds`."""
    if settings.sentry_dsn:
        import sentry_sdk

        sentry_sdk.flush(seconds)


def scrubbed(event: Any, _: object = None) -> Any:
    """The part of an event or a transaction that is sent to Sentry."""
    ours = _only(event, OURS)
    if "exception" in event:
        ours["exception"] = {"values": [_exception(one) for one in event["exception"].get("values", ())]}
    if str(event.get("logger", "")).partition(".")[0] in ("gischat", "worker"):
        # The log line's format string without its arguments; other libraries may format theirs beforehand.
        ours["logentry"] = {"message": event.get("logentry", {}).get("message", "")}
    contexts = event.get("contexts") or {}
    ours["contexts"] = {"runtime": contexts.get("runtime", {}), "trace": _only(contexts.get("trace", {}), OF_A_TRACE)}
    ours["extra"] = _only(event.get("extra") or {}, OF_A_RECORD)
    if event.get("type") == "transaction":
        ours["spans"] = []
    return ours


def _exception(exception: Any) -> dict[str, Any]:
    ours = _only(exception, OF_AN_EXCEPTION)
    frames = (exception.get("stacktrace") or {}).get("frames", ())
    ours["stacktrace"] = {"frames": [_only(frame, OF_A_FRAME) for frame in frames]}
    return ours


def _only(given: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}
