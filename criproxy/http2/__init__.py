"""HTTP/2 (RFC 9113) without I/O, bytes in, events and bytes out; and gRPC's rules on top of it.

`connection` is one end of a connection, put together from `streams`, `sending`, `control`, `assembly` and `limits`;
it tells its user `events`. `fields` reads and writes field blocks (RFC 7541), `headers` knows what they mean. `grpc`
stands beside all that. Nothing here knows of sockets or of the CRI.
"""
