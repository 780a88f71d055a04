"""The model in a folder of Hugging Face, and the tensors of one of their models under our names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cs336lite.course.hugging_face.families import FAMILIES, config_from_hugging_face, family_of
from cs336lite.course.hugging_face.files import Held, check_folder, held, read_json, weight_files
from cs336lite.course.hugging_face.tensors import check_dtype, convert, is_tied, weights
from cs336lite.model import Transformer, TransformerConfig


class WithoutMemory(TorchFunctionMode):
    """Within it a model is made in no time: the weights of PyTorch's layers lie on the meta device, and are not drawn.

    Everything else is as ever, so that tables of positions hold their values; with ``torch.device("meta")`` around it
    they take no memory either.

    >>> with WithoutMemory():
    ...     nn.Linear(2, 2).weight.is_meta
    True
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.empty:
            return func(*args, **(kwargs or {}) | {"device": "meta"})
        if func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def from_hugging_face(
    state: Mapping[str, Tensor], config: TransformerConfig, family: str, dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The tensors of a Hugging Face model under our names and in our layout, for ``load_state_dict``; copies.

    ``family`` is a ``model_type``, a name in `FAMILIES`. ``dtype`` None is the dtype that the tensors have, and the widest
    of several, with a warning. ValueError for tensors that are missing, have another shape than the configuration asks
    for, have no place in the model, are there twice and differ, are quantised, or belong to an adapter.
    """
    if family not in FAMILIES:
        raise ValueError(f"the family {family!r} is not known, and those supported are {', '.join(FAMILIES)}")
    check_dtype(dtype)
    theirs = family_of(config, family)
    every = [Held(name, tuple(x.shape), x.dtype, lambda x=x: x) for name, x in state.items()]
    found = weights(every, theirs)
    if config.tied_embeddings and not is_tied(config, theirs, found):
        raise ValueError(
            f"{theirs.name_of('output')} is not the embedding, so the configuration must have tied_embeddings=False"
        )
    with WithoutMemory():
        model = Transformer(config)
    return convert(model, theirs, found, dtype)


def load_hugging_face(folder: str | Path, dtype: torch.dtype | None = None) -> Transformer:
    """The model in a folder that Hugging Face's ``save_pretrained`` wrote or its hub gave, ready for use (``eval``).

    Reads config.json and memory-mapped safetensors, tensor by tensor, into memory that is taken when all of them are
    known to be there with the right shape. ``dtype`` None is the dtype that the tensors have, and the widest of several,
    with a warning. Raises FileNotFoundError for missing files and ValueError for what `config_from_hugging_face` and
    `from_hugging_face` refuse, an adapter, or a damaged file.

    >>> load_hugging_face("gpt2")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FileNotFoundError: there is no config.json in gpt2, which is no folder on this disk. ...
    """
    folder = Path(folder)
    check_dtype(dtype)
    check_folder(folder)
    settings = read_json(folder / "config.json")
    try:
        config = config_from_hugging_face(settings)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    family = family_of(config, settings["model_type"])
    with ExitStack() as opened:
        every = [one for path in weight_files(folder) for one in held(path, opened)]
        try:
            found = weights(every, family)
            with WithoutMemory():
                model = Transformer(config.replace(tied_embeddings=is_tied(config, family, found)))
            state = convert(model, family, found, dtype)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
    parameters = {id(tensor): nn.Parameter(tensor) for tensor in state.values()}
    model.load_state_dict({name: parameters[id(tensor)] for name, tensor in state.items()}, assign=True)
    return model.eval()
