"""The daemon's control socket: what it tells of itself, and takes, by gRPC.

`server` and what it imports are the daemon's side, in its loop; `client` is that of the commands. `api` has the
messages, which both read from the same files. A new method is a line in ``control.proto``, and a handler in the table
that the daemon gives to the server.
"""
