"""A reader of access logs: counts the requests that a server has written down.

`formats` and `ledger` are pure: a line to a request, requests to batches. `following` and `files` find the
next lines through rotations, `journal` remembers what was sent, and `reader` joins them.
"""
