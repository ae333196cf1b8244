# What type checkers see of the names that __init__.py imports when they are first used: written there, they would make
# every module that asks for the version depend on the pipeline.
from assent.pipeline.recipe import load_recipe as load_recipe
from assent.pipeline.run import run as run
from assent.pipeline.run import run_stage as run_stage
from assent.training.trainer import Trainer as Trainer

__version__: str
