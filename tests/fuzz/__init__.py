"""Fuzz targets: functions that take any bytes, and assert what must hold whatever these are.

`targets` has all of them by name. ``corpus/TARGET/`` keeps the inputs that between them reach what has been reached,
and those that have found something. `make test` runs what is kept and some mutations of it; `make fuzz` looks for more,
guided by coverage (atheris) where there is a release of that for the Python.
"""
