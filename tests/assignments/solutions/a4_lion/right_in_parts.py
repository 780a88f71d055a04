"""The base of the wrong solutions."""

from _base import *
