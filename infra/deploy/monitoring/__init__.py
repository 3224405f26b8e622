"""Dashboards, recording rules and alerts, as files for Prometheus, Grafana and Datadog.

The rules are written by hand; `make dashboards` writes the dashboards from the modules here.
"""
