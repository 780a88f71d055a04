"""A notebook as it is handed out."""


def ring_all_reduce(rank, world_size, x):
    raise NotImplementedError("this exercise is not solved yet")


def average_gradients(rank, world_size, parameters, bucket_bytes):
    raise NotImplementedError("this exercise is not solved yet")


class ZeroOptimizer:
    def __init__(self, rank, world_size, parameters, make_optimizer):
        raise NotImplementedError("this exercise is not solved yet")

    def step(self):
        raise NotImplementedError("this exercise is not solved yet")


def shard(weight, rank, world_size, dim):
    raise NotImplementedError("this exercise is not solved yet")


def column_forward(rank, world_size, x, weight):
    raise NotImplementedError("this exercise is not solved yet")


def column_backward(rank, world_size, x, weight, grad_y):
    raise NotImplementedError("this exercise is not solved yet")


def row_forward(rank, world_size, x, weight):
    raise NotImplementedError("this exercise is not solved yet")


def row_backward(rank, world_size, x, weight, grad_y):
    raise NotImplementedError("this exercise is not solved yet")


def feed_forward(rank, world_size, x, w1, w2):
    raise NotImplementedError("this exercise is not solved yet")


def feed_forward_backward(rank, world_size, x, w1, w2, grad_y):
    raise NotImplementedError("this exercise is not solved yet")


def one_forward_one_backward(stage, num_stages, num_microbatches):
    raise NotImplementedError("this exercise is not solved yet")
