"""The agent of this process, for middlewares: created on first use, and dropped in a forked child.

Servers may import the application and then fork workers: threads do not survive a fork, so each process starts its own
agent. All settings are checked first, so that invalid ones are known at construction.
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
from endpoint_analytics.schemas.configuration.settings import invalid_setting

logger = logging.getLogger("endpoint_analytics")

_TRANSIENT = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE})
"""Disk errors that are not configuration errors: the spool tries again while the server runs."""


class ProcessAgent:
    """`agent` and `recorder` are None until `start` or `record`. Raises ConfigurationError at once for invalid
    settings."""

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
        """Start this process's agent if necessary and return it; it stops when the process exits, at the latest.

        None, with one log line, if it cannot be started (no thread or file descriptor is available): the application is
        then served without it.
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
                        "the agent cannot start: this process serves, but its requests are NOT recorded"
                    )
                else:
                    self.agent = agent
            return self.agent

    def record(self) -> Recorder | None:
        """This process starts serving: start its agent, and return the recorder."""
        agent = self.start()
        if agent is not None:
            agent.enter("running")
            self.recorder = agent.recorder
        return self.recorder

    def forget(self) -> None:
        """Drop the agent: the next `start` creates another."""
        self.agent = self.recorder = None
        self._has_failed = False
        self._starting = threading.Lock()


def check_spool(directory: str) -> None:
    """Create the spool's directory if it is missing; raises ConfigurationError if it can never be written."""
    if not directory:
        return
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno not in _TRANSIENT:
            raise invalid_setting("spool", directory, error.strerror or str(error)) from error
        logger.warning("cannot write to the spool %s now, will try again: %s", directory, error)


def stop_at_exit(agent: Agent) -> None:
    """Stop the agent when the process exits normally."""
    atexit.register(agent.stop)
    if parent_process() is not None:  # multiprocessing workers exit without running atexit
        Finalize(None, agent.stop, exitpriority=100)
