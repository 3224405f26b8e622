"""What a scrape is answered: the families of an endpoint, of its signals, and of the service itself."""
