"""Each part by itself, as in the wrong solutions."""

from _base import *


# nothing is changed
