"""The solution that the wrong ones are made from: incremental counts, one cache of encoded pieces."""

from _base import *
