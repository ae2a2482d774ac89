"""OpenTelemetry's door: `instrument(router)` gives spans and metrics of what it decides, calls and settles."""

try:
    import opentelemetry.metrics
    import opentelemetry.trace  # noqa: F401  # only to say what is missing
except ImportError as error:
    raise ImportError("budget_router_otel needs opentelemetry-api: pip install 'budget-router[otel]'") from error

from budget_router_otel.telemetry import Telemetry, instrument, uninstrument

__all__ = ["Telemetry", "instrument", "uninstrument"]
