"""The JSON API: figures of endpoints over time, for the page and for other programs."""
