"""What reward models, ensembles and combinations of them are worth: :mod:`benchmarks.rewards.__main__` says how."""
