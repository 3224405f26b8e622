"""A reverse proxy beside a server, which records every request that passes it.

`head`, `framing` and `forwarding` are pure: bytes in, values or bytes out. The connections, the exchange and
the pool are asyncio protocols, and hold no more of a body than what one read brought.
"""
