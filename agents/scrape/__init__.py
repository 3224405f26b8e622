"""Scrapes the metrics that a serving engine exposes, and selects the ones to send."""
