"""Everything in float64 and then rounded; filters token by token; an error of its own that is a ValueError."""

from _base import *


class Refused(ValueError):
    pass


class KVCache(KVCache):
    """Memory by slices along the first dimension, moved back at the end."""

    def check_room(self, stop):
        if stop > self.max_length:
            raise Refused("room")

    def take(self, x):
        return x.new_empty(self.max_length, x.shape[0], x.shape[1], x.shape[3])

    def write(self, memory, x, stop):
        memory[self.length : stop] = x.permute(2, 0, 1, 3)
        return memory

    def seen(self, memory, x):
        return memory[: self.length].permute(1, 2, 0, 3)


def refuse_options(temperature, top_k, top_p, min_p, refuse=refuse_options):
    try:
        refuse(temperature, top_k, top_p, min_p)
    except ValueError as error:
        raise Refused("option") from error


def token_probabilities(logits, *, temperature=1.0, top_k=None, top_p=None, min_p=None):
    refuse_options(temperature, top_k, top_p, min_p)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    rows = []
    for z in logits.double().reshape(-1, logits.shape[-1]):
        order = sorted(range(len(z)), key=lambda i: (-z[i].item(), i))
        if temperature == 0:
            p, order = torch.ones_like(z), order[:1]
        else:
            p = torch.exp((z - z[order[0]]) / temperature)
        if top_k:
            order = order[:top_k]
        if top_p and top_p < 1:
            total, so_far, kept = sum(p[i].item() for i in order), 0.0, []
            for i in order:
                if so_far >= top_p * total:
                    break
                kept.append(i)
                so_far += p[i].item()
            order = kept
        if min_p:
            order = [i for i in order if p[i] >= min_p * p[order[0]]]
        row = torch.zeros_like(p)
        row[order] = p[order]
        rows.append(row / row.sum())
    return torch.stack(rows).reshape(logits.shape).to(dtype)


def accepts(u, q, p):
    return not (float(u) * float(q) >= float(p))


def quantize_int8(weight, group_size):
    check_size(weight, group_size)
    pieces = weight.double().split(group_size, dim=1)
    scales = torch.stack([piece.abs().amax(1) / 127 for piece in pieces], dim=1)
    q = [(piece / scale[:, None]).nan_to_num(0).round() for piece, scale in zip(pieces, scales.T)]
    return torch.cat(q, dim=1).to(torch.int8), scales.float()
