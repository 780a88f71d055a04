"""The parts that the wrong solutions replace, all of them right."""

from _base import *
