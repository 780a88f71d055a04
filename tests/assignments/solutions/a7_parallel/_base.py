"""What the wrong solutions change one thing of: right, in parts."""

import torch
from torch import nn

from cs336lite.collectives import AllGather, AllReduce, Receive, ReduceScatter, Send


def ring_all_reduce(rank, world_size, x):
    result = x.clone(memory_format=torch.contiguous_format)
    chunks = result.view(-1).tensor_split(world_size)
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    for step in range(world_size - 1):
        yield Send(after, chunks[(rank - step) % world_size])
        chunks[(rank - step - 1) % world_size].add_((yield Receive(before)))
    for step in range(world_size - 1):
        yield Send(after, chunks[(rank + 1 - step) % world_size])
        chunks[(rank - step) % world_size].copy_((yield Receive(before)))
    return result


def included(parameters):
    return [p for p in parameters if p.requires_grad][::-1]


def bytes_of(parameter):
    return parameter.numel() * parameter.element_size()


def buckets_of(parameters, bucket_bytes):
    made, room = [], 0
    for parameter in parameters:
        if not made or bytes_of(parameter) > room or parameter.dtype != made[-1][0].dtype:
            made.append([])
            room = bucket_bytes
        made[-1].append(parameter)
        room -= bytes_of(parameter)
    return made


def averaged(total, world_size):
    return total / world_size


def average_gradients(rank, world_size, parameters, bucket_bytes):
    for bucket in buckets_of(included(parameters), bucket_bytes):
        for p in bucket:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        mean = averaged((yield AllReduce(torch.cat([p.grad.flatten() for p in bucket]))), world_size)
        for p, part in zip(bucket, mean.split([p.numel() for p in bucket])):
            p.grad = part.reshape(p.shape).clone()


class ZeroOptimizer:
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.rank, self.world_size, self.parameters = rank, world_size, parameters
        self.shard = nn.Parameter(self.cut(self.flat([p.detach() for p in parameters]))[rank].clone())
        self.make_optimizer = make_optimizer
        self.optimizer = make_optimizer([self.shard])

    def flat(self, tensors):
        return torch.cat([x.flatten() for x in tensors])

    def cut(self, flat):
        return flat.tensor_split(self.world_size)

    def step(self):
        total = yield ReduceScatter(self.cut(self.flat([p.grad for p in self.parameters])))
        self.update(total)
        self.put((yield AllGather(self.shard.detach())))

    def update(self, total):
        self.shard.grad = total / self.world_size
        self.optimizer.step()

    def put(self, parts):
        flat = torch.cat(list(parts))
        for p, part in zip(self.parameters, flat.split([p.numel() for p in self.parameters])):
            p.data.copy_(part.view_as(p))


def shard(weight, rank, world_size, dim):
    return weight.tensor_split(world_size, dim)[rank].clone()


def weight_gradient(grad_y, x):
    return grad_y.flatten(0, -2).T @ x.flatten(0, -2)


def column_forward(rank, world_size, x, weight):
    yield from ()
    return x @ weight.T


def column_backward(rank, world_size, x, weight, grad_y):
    return (yield AllReduce(grad_y @ weight)), weight_gradient(grad_y, x)


def row_forward(rank, world_size, x, weight):
    return (yield AllReduce(x @ weight.T))


def row_backward(rank, world_size, x, weight, grad_y):
    yield from ()
    return grad_y @ weight, weight_gradient(grad_y, x)


def feed_forward(rank, world_size, x, w1, w2):
    return (yield AllReduce((x @ w1.T).relu().square() @ w2.T))


def feed_forward_backward(rank, world_size, x, w1, w2, grad_y):
    hidden = (x @ w1.T).relu()
    grad_hidden = (grad_y @ w2) * 2 * hidden
    grad_x = yield AllReduce(grad_hidden @ w1)
    return grad_x, weight_gradient(grad_hidden, x), weight_gradient(grad_y, hidden.square())


def warm_up(stage, num_stages):
    return num_stages - stage - 1


def one_forward_one_backward(stage, num_stages, num_microbatches):
    first = min(warm_up(stage, num_stages), num_microbatches)
    order = [("forward", i) for i in range(first)]
    for i in range(num_microbatches - first):
        order += [("forward", first + i), ("backward", i)]
    return order + [("backward", i) for i in range(num_microbatches - first, num_microbatches)]
