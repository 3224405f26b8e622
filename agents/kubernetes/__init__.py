"""Watches pods and their scaling limits in Kubernetes, and tells them as replica states and endpoint settings."""
