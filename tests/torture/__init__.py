"""Torture: attacks and faults against a real criproxy under load, each answer checked; and a soak.

A row (rows.py) is one attack or fault. While it goes on, four clients (load.py) make calls whose answers only
one runtime can have given to only one call. At the end verdict.py says what the others have felt of each row.
"""
