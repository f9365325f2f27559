"""HTTP/2 (RFC 9113) without I/O: bytes in, events and bytes out.

`Connection` is one end of a connection, `headers` reads and writes field blocks (RFC 7541). Nothing here knows of
sockets, of gRPC or of the CRI.
"""
