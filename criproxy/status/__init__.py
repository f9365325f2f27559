"""``criproxy status``: the daemon, its runtimes and the node, on one screen, and whether that is well."""
