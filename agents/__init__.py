"""What runs next to a model server: captures requests, samples hardware, sends both, and never delays a request."""
