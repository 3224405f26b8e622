"""The Faust worker: reads, folds, stores, acknowledges."""
