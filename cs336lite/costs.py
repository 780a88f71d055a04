# Built from notebooks/text/02_tensors.py by `cs336lite build`: edit that file, not this one.
"""What a computation costs: bytes of tensors, FLOPs of products, seconds of a machine, days of a training.

FLOPs are those of matrix products, two for each multiply-add, as `torch.utils.flop_counter` counts them. Bytes are
bytes, not MiB. What the models of this course cost by their shapes is in `cs336lite.accounting`.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def storage_bytes(tensors: Iterable[Shaped[Tensor, "..."]]) -> int:
    """Bytes of the storages behind these tensors, each storage once however many views there are.

    >>> x = torch.zeros(10, 10)
    >>> storage_bytes([x, x.T, x[0]])
    400

    Built in notebooks/02_tensors.ipynb.
    """
    storages = [tensor.untyped_storage() for tensor in tensors]
    return sum({(storage.device, storage.data_ptr()): storage.nbytes() for storage in storages}.values())


def matmul_flops(m: int, k: int, n: int, batch: int = 1) -> int:
    """FLOPs of a product of (m, k) and (k, n) matrices, 2 m k n, for each of a batch.

    >>> matmul_flops(2, 3, 4)
    48

    Built in notebooks/02_tensors.ipynb.
    """
    return 2 * batch * m * k * n


def counted_flops(forward: Callable[[], Shaped[Tensor, "..."]]) -> tuple[int, int]:
    """FLOPs that PyTorch counts in ``forward()`` and in the backward pass from the sum of its result.

    Fused attention is replaced by plain products, because the counter does not know the CPU's fused kernel.

    >>> x, w = torch.ones(2, 3, requires_grad=True), torch.ones(3, 4, requires_grad=True)
    >>> counted_flops(lambda: x @ w)
    (48, 96)

    Built in notebooks/02_tensors.ipynb.
    """
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as there:
            result = forward().sum()
        with FlopCounterMode(display=False) as back:
            result.backward()
    return there.get_total_flops(), back.get_total_flops()


def six_nd(num_parameters: int | float, num_tokens: int | float) -> int | float:
    """The usual estimate of training FLOPs, 6 N D (arXiv 2001.08361), which leaves out attention's square.

    >>> f"{six_nd(70e9, 15e12):.1e}"
    '6.3e+24'

    Built in notebooks/02_tensors.ipynb.
    """
    return 6 * num_parameters * num_tokens


def saved_bytes(forward: Callable[[], Shaped[Tensor, "..."]], ignore: Iterable[Shaped[Tensor, "..."]] = ()) -> int:
    """Bytes that autograd keeps for the backward pass of ``forward()``, each storage once.

    ``ignore`` are tensors that exist anyway: parameters, buffers, inputs.

    >>> x = torch.ones(10, requires_grad=True)
    >>> saved_bytes(lambda: x.exp().sum(), [x])
    40

    Built in notebooks/02_tensors.ipynb.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in ignore}
    kept: list[Tensor] = []  # holds them, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    total = storage_bytes(tensor for tensor in kept if tensor.untyped_storage().data_ptr() not in known)
    del result  # the graph lives until everything has been measured
    return total


def matmul_intensity(m: int, k: int, n: int, itemsize: int = 2) -> float:
    """FLOPs per byte of a product of (m, k) and (k, n): each matrix crosses the memory bus once.

    >>> matmul_intensity(600, 600, 600, itemsize=4)
    100.0

    Built in notebooks/02_tensors.ipynb.
    """
    return matmul_flops(m, k, n) / (itemsize * (m * k + k * n + m * n))


def roofline(intensity: int | float, peak_flops: int | float, bandwidth: int | float) -> int | float:
    """The most FLOP/s at an intensity in FLOPs per byte: min(peak, bandwidth * intensity).

    >>> roofline(10, peak_flops=989e12, bandwidth=3.35e12)
    33500000000000.0

    Built in notebooks/02_tensors.ipynb.
    """
    return min(peak_flops, bandwidth * intensity)


def mfu(flops: int | float, seconds: int | float, peak_flops: int | float) -> float:
    """Model FLOPs utilisation: the FLOPs that a model needs, per second, as a share of the peak (arXiv 2204.02311).

    >>> mfu(flops=2e12, seconds=4, peak_flops=1e12)
    0.5

    Built in notebooks/02_tensors.ipynb.
    """
    return flops / seconds / peak_flops


def training_days(flops: int | float, *, devices: int, peak_flops: int | float, mfu: int | float) -> float:
    """Days that training takes on so many devices of this peak (FLOP/s), at this utilisation.

    >>> f"{training_days(six_nd(70e9, 15e12), devices=1024, peak_flops=989e12, mfu=0.5):.0f}"
    '144'

    Built in notebooks/02_tensors.ipynb.
    """
    return flops / (devices * peak_flops * mfu) / 86_400
