"""A reverse proxy next to a server, which records every request that passes through it.

`head`, `framing` and `forwarding` are pure: bytes in, values or bytes out. The connections, the exchange and the pool
use asyncio protocols, and buffer no more of a body than one read returns.
"""
