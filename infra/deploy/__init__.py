"""Deployment across machines: topics, container images, Kubernetes manifests, autoscaling."""
