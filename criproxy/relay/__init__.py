"""Where calls move: kubelet's side (downstream), the runtimes' side (upstream), and what is between.

The life of a call, in the order in which the modules are best read:

- ``loop.py`` and ``transport.py``: readiness of sockets becomes bytes, bytes become events of ``http2``;
- ``downstream.py``: an event on one of kubelet's connections (``listener.py``) becomes a call;
- ``routing.py``: what a method's row (``cri.methods``) makes of it: whom it is for, what is renamed on the way, and
  ``answers.py``: on the way back; ``owners.py`` and ``inquiry.py``: whose an id is that does not say it;
- ``dispatch.py``: which strategy takes it;
- ``single.py``: a call to one runtime; ``scatter.py``: several exchanges at once, of which ``lists.py``, ``images.py``,
  ``status.py`` and ``events.py`` make one response; ``memory.py``: what stands in for a runtime that is away;
- ``exchange.py``: one stream to one runtime, ``outcome.py``: how it has ended;
- ``response.py``: what kubelet gets;
- ``runtime.py``: a runtime and its states; ``upstream.py``: one connection to it; ``probe.py``: the versions it speaks;
- ``context.py``: what all calls may use; ``configured.py``: the router of a configuration;
  ``proxy.py`` puts everything together.
"""
