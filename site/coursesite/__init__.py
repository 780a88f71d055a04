"""The course as web pages: what is gathered from notebooks, texts and docstrings before Sphinx makes pages of it."""
