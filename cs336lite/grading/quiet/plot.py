"""Pictures that are not drawn."""

from cs336lite.course import Nothing

COLORS = Nothing()


def axes(*args, **kwargs):
    return Nothing(), Nothing()


def finish(*args, **kwargs):
    return None
