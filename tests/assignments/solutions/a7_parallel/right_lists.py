"""Lists of chunks that are put together at the end, and a queue of micro-batches."""

from _base import *


def ring_all_reduce(rank, world_size, x):
    chunks = [chunk.clone() for chunk in x.flatten().tensor_split(world_size)]
    here = rank
    for _ in range(world_size - 1):
        yield Send((rank + 1) % world_size, chunks[here])
        came = yield Receive((rank + world_size - 1) % world_size)
        here = (here - 1) % world_size
        chunks[here] = came + chunks[here]
    for _ in range(world_size - 1):
        yield Send((rank + 1) % world_size, chunks[here])
        here = (here - 1) % world_size
        chunks[here] = yield Receive((rank + world_size - 1) % world_size)
    return torch.cat(chunks).reshape(x.shape)


def one_forward_one_backward(stage, num_stages, num_microbatches):
    order, held, coming, oldest = [], 0, 0, 0
    while oldest < num_microbatches:
        if held < num_stages - stage and coming < num_microbatches:
            order.append(("forward", coming))
            held, coming = held + 1, coming + 1
        else:
            order.append(("backward", oldest))
            held, oldest = held - 1, oldest + 1
    return order
