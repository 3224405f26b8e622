"""The agent of this process, for middlewares: made when it is first needed, let go of by a fork.

Servers may import the application and fork their workers then: a thread does not live on in a forked child, so
each process starts its own agent.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from multiprocessing import parent_process
from multiprocessing.util import Finalize

from endpoint_analytics.agents.agent import Agent
from endpoint_analytics.agents.config import AgentConfig
from endpoint_analytics.agents.producer import make_ssl_context
from endpoint_analytics.agents.scrape.settings import scrape_settings


class ProcessAgent:
    """`agent` is None until `start`. Raises ConfigurationError at once for what cannot work."""

    def __init__(self, config: AgentConfig) -> None:
        make_ssl_context(config.kafka)  # what cannot work is told now, not at the first request
        scrape_settings(config)
        self.config = config
        self.agent: Agent | None = None
        self._starting = threading.Lock()
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)

            def forget() -> None:
                forked = reference()
                if forked is not None:
                    forked.forget()

            os.register_at_fork(after_in_child=forget)

    def start(self) -> Agent:
        """Return this process's agent, started; it stops with the process at the latest."""
        with self._starting:
            if self.agent is None:
                self.agent = Agent(self.config)
                self.agent.start()
                stop_at_exit(self.agent)
            return self.agent

    def forget(self) -> None:
        """Let go of the agent: the next `start` makes another."""
        self.agent = None
        self._starting = threading.Lock()


def stop_at_exit(agent: Agent) -> None:
    """Stop the agent with the process, if that ends in an orderly way."""
    atexit.register(agent.stop)
    if parent_process() is not None:  # a worker that multiprocessing made ends without atexit
        Finalize(None, agent.stop, exitpriority=100)
