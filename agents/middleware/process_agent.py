"""The agent of this process, for middlewares: made when it is first needed, let go of by a fork.

Servers may import the application and fork their workers then: a thread does not live on in a forked child, so
each process starts its own agent. All settings are checked before: what cannot work is known at construction.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import weakref
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from pathlib import Path

from endpoint_analytics.agents.core.config import AgentConfig
from endpoint_analytics.agents.core.recorder import Recorder
from endpoint_analytics.agents.replica.agent import Agent
from endpoint_analytics.agents.scrape.settings import scrape_settings
from endpoint_analytics.schemas.configuration.kafka_client import make_ssl_context
from endpoint_analytics.schemas.configuration.settings import wrong

logger = logging.getLogger("endpoint_analytics")

_TROUBLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE})
"""What ails a disk today and no setting: the spool tries again while the server serves."""


class ProcessAgent:
    """`agent` and `recorder` are None until `start` or `record`. Raises ConfigurationError at once for what cannot
    work."""

    def __init__(self, config: AgentConfig) -> None:
        make_ssl_context(config.kafka)
        scrape_settings(config)
        check_spool(config.spool)
        self.config = config
        self.agent: Agent | None = None
        self.recorder: Recorder | None = None
        self._has_failed = False
        self._starting = threading.Lock()
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)

            def forget() -> None:
                forked = reference()
                if forked is not None:
                    forked.forget()

            os.register_at_fork(after_in_child=forget)

    def start(self) -> Agent | None:
        """Return this process's agent, started; it stops with the process at the latest.

        None, with one line in the log, when it cannot be started (no thread or descriptor is to be had): the
        application is served without it.
        """
        with self._starting:
            if self.agent is None and not self._has_failed:
                try:
                    agent = Agent(self.config)
                    agent.start()
                    stop_at_exit(agent)
                except Exception:
                    self._has_failed = True
                    logger.exception(
                        "the agent cannot start: this process serves, and its requests are NOT recorded"
                    )
                else:
                    self.agent = agent
            return self.agent

    def record(self) -> Recorder | None:
        """This process serves from now on: start its agent, and return where requests are recorded."""
        agent = self.start()
        if agent is not None:
            agent.enter("running")
            self.recorder = agent.recorder
        return self.recorder

    def forget(self) -> None:
        """Let go of the agent: the next `start` makes another."""
        self.agent = self.recorder = None
        self._has_failed = False
        self._starting = threading.Lock()


def check_spool(directory: str) -> None:
    """Make the spool's directory where it is missing; raises ConfigurationError when it can never be written."""
    if not directory:
        return
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno not in _TROUBLE:
            raise wrong("spool", directory, error.strerror or str(error)) from error
        logger.warning("the spool %s cannot be written now, and is tried again: %s", directory, error)


def stop_at_exit(agent: Agent) -> None:
    """Stop the agent with the process, if that ends in an orderly way."""
    atexit.register(agent.stop)
    if parent_process() is not None:  # a worker that multiprocessing made ends without atexit
        Finalize(None, agent.stop, exitpriority=100)
