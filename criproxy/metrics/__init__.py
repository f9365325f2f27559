"""Metrics for Prometheus, and the two questions whether the daemon lives and is ready, by HTTP.

`families` says what there is and reads it from the relay when somebody asks, so that nothing is counted twice and
nothing on the way of a call; `text` writes it by prometheus_client; `http` and `server` are as much of HTTP/1.1 as
that takes; `pages` puts them together. `endpoint` loads all that, and the library, only if the option asks for it.

The server is our own since the library's, and http.server's, have threads and block. What is served is a GET without
a body and one answer a connection: that is less code than what would tame another server to the daemon's one loop.
"""
