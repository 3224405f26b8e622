"""What runs beside a model server: it captures, samples and sends, and never makes a request wait."""
