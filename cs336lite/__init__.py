"""cs336lite: how language models are built, one notebook at a time.

The modules beside this file are built by the notebooks (see CONTRIBUTING.md); ``course``, ``grading``, ``cli``, ``keys``
and ``sources`` are written by hand.
"""

__version__ = "0.1.0"
