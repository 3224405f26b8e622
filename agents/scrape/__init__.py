"""Reading the metrics that a serving engine tells of itself, and sending the chosen ones along."""
