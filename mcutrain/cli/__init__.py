"""The command line: one file per verb, no logic of its own."""

import os

# What NumPy multiplies here is small: more threads than one only wait for each other, all the longer
# on a busy machine.  It reads this once, when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
