"""From the log to the answers: fold, worker, store, query service."""
