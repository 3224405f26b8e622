"""Shared by all capture methods: recording, batching, clock, configuration. Imports nothing else from agents."""
