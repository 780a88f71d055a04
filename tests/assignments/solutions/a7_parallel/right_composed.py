"""The feed-forward is made of the layers; parameters are views of one flat vector."""

from _base import *


def feed_forward(rank, world_size, x, w1, w2):
    hidden = yield from column_forward(rank, world_size, x, w1)
    return (yield from row_forward(rank, world_size, torch.relu(hidden) ** 2, w2))


def feed_forward_backward(rank, world_size, x, w1, w2, grad_y):
    hidden = yield from column_forward(rank, world_size, x, w1)
    grad, grad_w2 = yield from row_backward(rank, world_size, hidden.clamp(min=0) ** 2, w2, grad_y)
    grad_x, grad_w1 = yield from column_backward(rank, world_size, x, w1, grad * 2 * hidden.clamp(min=0))
    return grad_x, grad_w1, grad_w2


class ZeroOptimizer:
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.ranks, self.parameters = world_size, list(parameters)
        self.vector = nn.utils.parameters_to_vector(self.parameters).detach()
        self.mine = nn.Parameter(torch.tensor_split(self.vector, world_size)[rank].clone())
        self.optimizer = make_optimizer([self.mine])

    def step(self):
        grads = torch.cat([p.grad.reshape(-1) for p in self.parameters]) / self.ranks
        self.mine.grad = yield ReduceScatter(list(grads.tensor_split(self.ranks)))
        self.optimizer.step()
        self.vector = torch.cat((yield AllGather(self.mine.data)))
        nn.utils.vector_to_parameters(self.vector, self.parameters)
