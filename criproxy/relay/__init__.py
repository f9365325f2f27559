"""Where calls move: kubelet's side, the runtimes' side, and what is between.

The life of a call, in the order in which the modules are best read:

- ``loop.py`` and ``transport.py``: readiness of sockets becomes bytes, bytes become events of ``http2``;
- ``frontend.py``: an event on one of kubelet's connections becomes a call;
- ``plan.py``: what a method's row (``cri.methods``) makes of the call: whom it is for, what is renamed on the way;
- ``call.py``: a call on its way to one runtime and back, ``fan.py``: one to several;
- ``backend.py``: a runtime: connected to, asked for its versions, lost and found again;
- ``grpc.py``: the few things that gRPC adds to HTTP/2.
"""
