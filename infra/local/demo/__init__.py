"""The demo endpoint: a real model, three replicas, live traffic."""
