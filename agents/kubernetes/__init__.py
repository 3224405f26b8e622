"""Watches pods and their scaling limits in Kubernetes, and reports them as replica states and endpoint settings."""
