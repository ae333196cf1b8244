"""assent: the whole loop of reinforcement learning from human feedback.  Importing it does not import torch."""

__version__ = "0.1.0"
