"""The results stay in the order of the experts.

fails: dispatch.order_is_kept, dispatch.dispatch_together
names: in the order of the experts
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    right, k = rows_of(x), indices.shape[-1]
    order = indices.reshape(-1).argsort(stable=True)
    counts = torch.bincount(indices.reshape(-1), minlength=len(experts)).tolist()
    parts = right[order // k].split(counts)
    out = torch.cat([expert(part) for expert, part in zip(experts, parts)]) * weights.reshape(-1)[order, None]
    return out.reshape(-1, k, x.shape[-1]).sum(1).to(x.dtype).reshape(x.shape)
