"""How a middleware is constructed: whatever is wrong with its arguments becomes one ConfigurationError.

Frameworks construct middlewares where they like, some with the first request. What becomes of the error is the
middleware's own matter; only that there is no other belongs here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from endpoint_analytics.agents.config import ConfigurationError


class Refusing(Protocol):
    """A middleware around an application."""

    app: Any

    def refused(self, error: ConfigurationError) -> None:
        """It cannot record anything: raise the error, or serve without analytics."""


Init = TypeVar("Init", bound=Callable[..., None])


def refuses(init: Init) -> Init:
    """Return the `__init__` so that it raises nothing but what `refused` raises, a misspelt argument included."""
    signature = inspect.signature(init)

    @wraps(init)
    def construct(middleware: Refusing, *arguments: Any, **named: Any) -> None:
        middleware.app = arguments[0] if arguments else named.get("app")
        try:
            signature.bind(middleware, *arguments, **named)
            init(middleware, *arguments, **named)
        except ConfigurationError as error:
            middleware.refused(error)
        except Exception as error:  # noqa: BLE001  # a wrong type, or a bug of ours
            middleware.refused(ConfigurationError(f"AnalyticsMiddleware cannot be made: {error!r}"))

    return cast("Init", construct)
