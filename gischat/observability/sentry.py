"""Faults of ours go to Sentry, without what people wrote.

Nothing is taken out of an event: a new one is made of the few things that are known to be ours, so that what a later
version of the SDK adds stays here until somebody lets it out. An exception's own text is not ours: it may quote what it
could not read. Its type, and the lines of code that it came through, tell nearly as much.
"""

from typing import Any

from gischat import __version__
from gischat.observability.logs import Process
from gischat.settings import Settings

# What is ours in an event or a transaction, at its top …
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
    """Starts reporting, if there is a `SENTRY_DSN`; without one the SDK is not even imported."""
    if not settings.sentry_dsn:
        return
    import sentry_sdk
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    # Those that would enable themselves look at every command to Redis, with its arguments.
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
        # Each would start a thread of its own.
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        enable_metrics=False,
    )
    sentry_sdk.set_tags({"kind": process.kind, "process": process.name, "instance": settings.instance_id})


def flush(settings: Settings, seconds: float) -> None:
    """Sends what waits to be sent, for so long at the most."""
    if settings.sentry_dsn:
        import sentry_sdk

        sentry_sdk.flush(seconds)


def scrubbed(event: Any, _: object = None) -> Any:
    """What of an event (or a transaction) goes to Sentry."""
    ours = _only(event, OURS)
    if "exception" in event:
        ours["exception"] = {"values": [_exception(one) for one in event["exception"].get("values", ())]}
    if str(event.get("logger", "")).partition(".")[0] in ("gischat", "worker"):
        # The words of the code; what was put into them is not sent. Others' log lines are not made like that.
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
