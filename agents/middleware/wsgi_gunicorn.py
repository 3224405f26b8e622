"""Hooks for gunicorn, so that a worker is reported as running when it is ready, not at its first request.

    gunicorn -c python:endpoint_analytics.gunicorn app:application

or, in your own configuration file: `from endpoint_analytics.gunicorn import *`.
"""

from __future__ import annotations

from typing import Any

from endpoint_analytics.agents.middleware.wsgi import WSGIAnalyticsMiddleware

__all__ = ["post_worker_init"]


def post_worker_init(worker: Any) -> None:
    """Start the agent of a worker that has loaded its application, if it finds the middleware."""
    found = find(getattr(worker, "wsgi", None))
    if found is not None:
        found.start()


def find(application: Any) -> WSGIAnalyticsMiddleware | None:
    """Return the middleware: the application itself, or a Flask application's `wsgi_app`."""
    for candidate in (application, getattr(application, "wsgi_app", None)):
        if isinstance(candidate, WSGIAnalyticsMiddleware):
            return candidate
    return None
