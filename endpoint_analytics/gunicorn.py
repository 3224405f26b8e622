"""Hooks for gunicorn workers: `gunicorn -c python:endpoint_analytics.gunicorn app:application`."""

from endpoint_analytics.agents.middleware.wsgi_gunicorn import post_worker_init

__all__ = ["post_worker_init"]
