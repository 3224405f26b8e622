"""The ASGI and WSGI middlewares: they record requests without changing them."""
