"""An embedded container runtime, and the proxy before two of them, for trying things out and for tests.

Nothing else of criproxy imports from here.
"""
