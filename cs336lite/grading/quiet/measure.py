"""Measurements that are not made: what is told here would be read by nobody."""


def reveal(*args, **kwargs):
    return None


def best_seconds(*functions, **kwargs):
    return [1.0 for _ in functions]
