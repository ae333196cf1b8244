"""Bad data by the thousand: whatever a file, recipe, folder or command line holds, it is taken or told in a sentence.

``python -m benchmarks.fuzz --examples 2000 [--only recipes models] [--seed 0]``.  Each target draws inputs, mostly good
ones that were edited, and hands them to one part of the package.  An input must be taken whole, or refused by an error
of :mod:`assent.errors` that is one line and names the file, and the line where a row or a key is to blame.  Anything
else is a fault: another exception, a row that was dropped without a word, code that ran out of a model's folder.

``python -m benchmarks.fuzz.coverage TARGET`` hands the same inputs to libFuzzer, where atheris is installed.
"""
