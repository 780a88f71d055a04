"""What Lion does not do is a NotImplementedError."""

from _base import *


class Lion(Lion):
    def look_for_sparse(self):
        try:
            super().look_for_sparse()
        except RuntimeError as error:
            raise NotImplementedError("Lion: sparse gradients") from error
