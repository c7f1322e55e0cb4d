"""The `pyrite` command: parse, build, call, print.

Not for logic: a verb is a short function that hands over to the rooms below. The one place where rewards, policies
and training meet. Start with `main.py`, where the verbs are registered.
"""
