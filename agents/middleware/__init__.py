"""The ASGI and WSGI middlewares: they record what passes, and change nothing of it."""
