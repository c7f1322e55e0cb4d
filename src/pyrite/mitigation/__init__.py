"""From scores to the reward that trains: transforms of one reward, aggregates of several. Pure numpy.

Not for what acts on log-probabilities or gradients: that is `training.objectives`. Start with `transforms.py`, then
`ensembles.py`; `catalogue.py` lists both by name.
"""
