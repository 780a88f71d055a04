"""Everything returns None."""


def ring_all_reduce(rank, world_size, x):
    return None


def average_gradients(rank, world_size, parameters, bucket_bytes):
    return None


class ZeroOptimizer:
    def __init__(self, rank, world_size, parameters, make_optimizer):
        pass

    def step(self):
        return None


def shard(weight, rank, world_size, dim):
    return None


def column_forward(rank, world_size, x, weight):
    return None


def column_backward(rank, world_size, x, weight, grad_y):
    return None


def row_forward(rank, world_size, x, weight):
    return None


def row_backward(rank, world_size, x, weight, grad_y):
    return None


def feed_forward(rank, world_size, x, w1, w2):
    return None


def feed_forward_backward(rank, world_size, x, w1, w2, grad_y):
    return None


def one_forward_one_backward(stage, num_stages, num_microbatches):
    return None
