"""The base of both middlewares: an application, its settings, and the process's agent.

Anything wrong with the arguments becomes a ConfigurationError. Frameworks construct middlewares at different times,
some with the first request, so each middleware decides how to handle the error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Generic, TypeVar, cast

from endpoint_analytics.agents.core.config import AgentConfig, ConfigurationError, read_config
from endpoint_analytics.agents.middleware.harmless import report_bug
from endpoint_analytics.agents.middleware.process_agent import ProcessAgent
from endpoint_analytics.agents.outcome.watch import OutcomeWatcher

App = TypeVar("App", bound=Callable[..., Any])
Init = TypeVar("Init", bound=Callable[..., None])


def _refuses(init: Init) -> Init:
    """Wrap `__init__` so that it only raises what `refused` raises, even for a misspelled argument."""
    signature = inspect.signature(init)

    @wraps(init)
    def construct(middleware: Middleware[Any], *arguments: Any, **named: Any) -> None:
        middleware.app = arguments[0] if arguments else named.get("app")
        try:
            signature.bind(middleware, *arguments, **named)
            init(middleware, *arguments, **named)
        except ConfigurationError as error:
            middleware.refused(error)
        except Exception as error:  # noqa: BLE001  # a wrong type, or a bug of the middleware
            name = type(middleware).__name__
            middleware.refused(ConfigurationError(f"cannot construct {name}: {error!r}"))

    return cast("Init", construct)


class Middleware(Generic[App]):
    """Wraps `app`. `error` is the ConfigurationError of invalid settings, None if there is none.

    `config` overrides the other arguments, which are those of `read_config`. The agent starts with the first request in
    each process, so that servers may fork workers after importing the application.
    """

    app: App
    error: ConfigurationError | None = None
    process: ProcessAgent | None = None
    _excluded: frozenset[str] = frozenset()
    _watcher: OutcomeWatcher | None = None

    @_refuses
    def __init__(
        self,
        app: App,
        namespace: str | None = None,
        endpoint: str | None = None,
        *,
        replica_id: str | None = None,
        kafka: str | None = None,
        topic_prefix: str | None = None,
        config: AgentConfig | None = None,
        flush_interval_s: float | None = None,
        hardware: bool | None = None,
        spool: str | None = None,
        exclude_paths: Sequence[str] | None = None,
    ) -> None:
        self.app = app
        self.process = ProcessAgent(
            config
            or read_config(
                namespace=namespace,
                endpoint=endpoint,
                replica_id=replica_id,
                kafka=kafka,
                topic_prefix=topic_prefix,
                flush_interval_s=flush_interval_s,
                hardware=hardware,
                spool=spool,
                exclude_paths=exclude_paths,
            )
        )
        settings = self.process.config
        self._excluded = frozenset(settings.exclude_paths)
        self._watcher = None if settings.outcomes == "off" else OutcomeWatcher(settings, report_bug)

    def refused(self, error: ConfigurationError) -> None:
        """Nothing can be recorded: raise the error, or serve without analytics."""
        raise NotImplementedError
