"""Rewards as a service: the HTTP server behind `pyrite serve`, for trainers on machines without room for the models.

Not the client: that is `pyrite.rewards.remote`. Start reading at `app.py`, which says what is asked and answered;
`batching.py` puts the images of several requests into one call of a reward, `gate.py` says when it is enough.
"""
