"""The nouns and the contracts: what a prompt, a score, a reward and a policy are.

Not for behaviour: nothing here loads a model or writes a file. Knows numpy and PIL only.
Start with `types.py`, then `protocols.py`.
"""
