"""As the notebook has it: small functions, and a class that calls them."""

from _functions import *
