"""The access log reader: counts the requests that a server has logged.

`formats` and `batching` are pure: they turn a line into a request, and requests into batches. `following` and `files`
find the next lines across rotations, `position_file` remembers what was sent, and `reader` ties them together.
"""
