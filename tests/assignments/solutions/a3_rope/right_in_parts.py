"""The solution that the wrong ones are made from: tables of cosines and sines, stacked pairs."""

from _base import *
