"""The solution of which the wrong ones are made."""

from _base import *
