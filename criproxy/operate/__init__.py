"""Commands by which a daemon that runs is watched and changed."""
