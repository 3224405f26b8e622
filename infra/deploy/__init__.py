"""Deployment across machines: topics, images, Helm chart, Kubernetes manifests, Compose, systemd, autoscaling."""
