"""What every way of capture shares: recording, batching, clock, configuration. Imports nothing else of agents."""
