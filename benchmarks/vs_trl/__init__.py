"""TRL and assent, one after the other, on the same model and data: :mod:`benchmarks.vs_trl.__main__`."""
