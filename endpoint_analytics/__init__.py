"""Live analytics for model-inference endpoints: the public API for applications.

>>> from endpoint_analytics import AnalyticsMiddleware        # ASGI: FastAPI, Starlette, Litestar, Quart ...
>>> from endpoint_analytics import WSGIAnalyticsMiddleware    # WSGI: Flask, Django ...

Everything else in agents, pipeline and infra is internal. Names load on first access, so the pipeline never imports
the middlewares.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError
    from endpoint_analytics.agents.middleware.asgi import AnalyticsMiddleware
    from endpoint_analytics.agents.middleware.wsgi import WSGIAnalyticsMiddleware

__all__ = ["AgentConfig", "AnalyticsMiddleware", "ConfigurationError", "WSGIAnalyticsMiddleware"]

_MODULES = {
    "AgentConfig": "endpoint_analytics.agents.core.config",
    "AnalyticsMiddleware": "endpoint_analytics.agents.middleware.asgi",
    "ConfigurationError": "endpoint_analytics.agents.core.config",
    "WSGIAnalyticsMiddleware": "endpoint_analytics.agents.middleware.wsgi",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
