"""A real kubelet behind criproxy, on booted nodes, with real runtimes."""
