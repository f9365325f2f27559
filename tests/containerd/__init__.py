"""Real containerds behind the proxy: the life of a pod, runtimes that restart, and what remains of it all."""
