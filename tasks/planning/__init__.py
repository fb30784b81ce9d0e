"""What a run would do, before it does it: movies, frames, shards, what is finished, time and disk on this machine.

No speed is assumed: each is measured here, or taken from what this very store's runs took, and it is said which. What
is not known is None.
"""
