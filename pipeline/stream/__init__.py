"""The Faust worker: reads from Kafka, folds, stores, and acknowledges."""
