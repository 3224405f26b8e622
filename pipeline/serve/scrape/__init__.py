"""What a scrape returns: the metric families of an endpoint, of its signals, and of the service itself."""
