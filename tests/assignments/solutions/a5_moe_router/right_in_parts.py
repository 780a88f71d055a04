"""Small parts and a loop over experts: what every wrong solution here is made from."""

from _base import *
