"""What sets up a pipeline of many machines: topics, container images, Kubernetes manifests, autoscaling."""
