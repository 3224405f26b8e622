"""The JSON API: the figures of endpoints over time, for the page and for programs."""
