"""A config.json, read key by key: what a family asks for, and what is left over and may not be passed over.

A key that nobody asks for is one of three: it changes no logits whatever its value (`INERT`), it changes none with some
values (`ONLY`), or it is not known. The last are refused by name unless they are null: transformers would not have written
a value that does nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ONLY: dict[str, tuple[Any, ...]] = {
    "add_bias_linear": (False,), "add_cross_attention": (False,), "apply_residual_connection_post_layernorm": (False,),
    "attention_bias": (False,), "attention_chunk_size": (None,), "attn_logit_softcapping": (None,),
    "compression_config": (None,), "final_logit_softcapping": (None,), "interleaved_qkv": (False,), "is_causal": (True,),
    "mlp_bias": (False,), "multi_query_attention": (True,), "original_rope": (True,), "per_layer_config": (None, {}),
    "post_layer_norm": (True,), "pre_seq_len": (None,), "prefix_projection": (False,), "pruned_heads": (None, {}),
    "quantization_bit": (None, 0), "quantization_config": (None,), "relative_attention_num_buckets": (32,),
    "rmsnorm": (True,), "rope_ratio": (None, 1), "scale_attn_by_inverse_layer_idx": (False,), "scale_attn_weights": (True,),
    "sliding_window": (None, False), "transformers_weights": (None,), "use_bidirectional_attention": (None, False),
    "use_mrope": (False,), "use_qk_norm": (False,), "use_sliding_window": (None, False),
}  # fmt: skip
"""Values with which an option changes nothing, where a family does not ask for it; the model has no other."""

INERT = re.compile(
    # what the files are and how they were made
    r"architectures|auto_map|custom_pipelines|dtype|torch_dtype|model_type|_?name_or_path|_commit_hash|transformers_version"
    r"|_?attn_implementation\w*|_experts_implementation\w*|unsloth_\w+|initializer_\w+|tie_last_hidden_states"
    # what a call returns, how fast, in which precision on the way
    r"|output_\w+|return_dict|use_return_dict|torchscript|use_cache|use_bfloat16|cache_implementation|gradient_checkpointing"
    r"|chunk_size_feed_forward|is_encoder_decoder|is_decoder|tf_legacy_loss|keys_to_ignore_at_inference|pretraining_tp"
    r"|(scale_)?attention_softmax_in_fp32|reorder_and_upcast_attn|apply_query_key_layer_scaling|fp32_residual_connection"
    r"|bias_dropout_fusion|masked_softmax_fusion|skip_bias_add(_qkv)?|(pre_allocate|validate)_\w+|inference_runner"
    r"|runner_max_sequence_length|max_(sequence_length|batch_size)|n_ctx|offset_alibi"
    # dropout, which a loaded configuration does not have
    r"|\w*(dropout|pdrop|layerdrop)|dropout_rate|summary_\w+"
    # other tasks, tokens and generation
    r"|id2label|label2id|_?num_labels|problem_type|finetuning_task|task_specific_params|\w+_token_ids?|tokenizer_class|prefix"
    r"|(max|min)_(length|new_tokens)|do_sample|temperature|top_[kp]|typical_p|num_(beams|beam_groups|return_sequences)"
    r"|(repetition|length|diversity|exponential_decay_length)_penalty|(encoder_)?no_repeat_ngram_size|bad_words_ids"
    r"|early_stopping|remove_invalid_values|(begin_)?suppress_tokens|return_dict_in_generate"
)
"""Keys that change no logits of a model without dropout, whatever they say."""

NEEDED = object()


class Settings:
    """What comes back has the kind that was asked for, or is refused by name; ``asked`` are the keys that were read.

    Further names are second names of the same key. ``null`` is taken where the default is None. ``place`` is the key
    under which these settings stand, if they are not the whole.
    """

    def __init__(self, values: Mapping[str, Any], place: str = "") -> None:
        self.values, self.asked, self.place = values, set(), place

    def size(self, *names: str, default: Any = NEEDED) -> Any:
        return self.read(names, default, "a whole number above 0", lambda x: type(x) is int and x > 0)

    def size_or_none(self, name: str, absent: Any) -> int | None:
        """A size or null, where a key that is not there means something else than null."""
        return self.size(name, default=None) if name in self.values else absent

    def number(self, *names: str, default: Any = NEEDED) -> Any:
        return self.read(
            names, default, "a number, 0 or above", lambda x: type(x) in (int, float) and 0 <= x < math.inf
        )

    def positive(self, name: str, default: Any = NEEDED) -> Any:
        return self.read([name], default, "a number above 0", lambda x: type(x) in (int, float) and 0 < x < math.inf)

    def flag(self, name: str, default: Any = NEEDED) -> Any:
        return self.read([name], default, "true or false", lambda x: type(x) is bool)

    def text(self, name: str, default: Any = NEEDED) -> Any:
        return self.read([name], default, "a text", lambda x: type(x) is str)

    def table(self, name: str) -> dict[str, Any]:
        return self.read([name], None, "an object or null", lambda x: isinstance(x, dict)) or {}

    def texts(self, name: str) -> list[str] | None:
        return self.read([name], None, "a list of texts or null", _are_texts)

    def read(self, names: Sequence[str], default: Any, kind: str, fits: Callable[[Any], bool]) -> Any:
        self.asked.update(names)
        there = {name: self.values[name] for name in names if name in self.values}
        given = {name: value for name, value in there.items() if value is not None} or there
        if not there and default is NEEDED:
            raise ValueError(f"{self.place or 'config.json'} says nothing about {names[0]!r}")
        if not there or (default is None and None in given.values()):
            return default
        for name, value in given.items():
            if not fits(value):
                raise ValueError(f"{self.place and f'{self.place}: '}{name} is {value!r}, and must be {kind}")
        first = next(iter(given.values()))
        if any(value != first for value in given.values()):
            raise ValueError(f"these are names of one thing, and differ: {given}")
        return first

    def refuse_the_rest(self, family: str, passed_over: Sequence[str] = ()) -> None:
        """ValueError for a key that nobody asked for and that may change the logits, with its value.

        ``passed_over`` are keys that transformers does not read for this family either, though files have them.
        """
        for name, value in self.values.items():
            if name in self.asked or name in passed_over or value is None or INERT.fullmatch(name):
                continue
            if name == "layer_types":
                if any(layer != "full_attention" for layer in self.texts(name)):
                    raise ValueError(f"layer_types = {value!r} is not supported for {family}: only 'full_attention' is")
            elif name not in ONLY:
                raise ValueError(
                    f"{name} = {_short(value)} is not known for {family}, and may change what the model computes. If you "
                    f"know that it does not, take {name} out of config.json"
                )
            elif value not in ONLY[name]:
                raise ValueError(
                    f"{name} = {_short(value)} is not supported for {family}: only {ONLY[name][0]!r} is. Take a model "
                    "without it; to change the file alone would change the logits"
                )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is str for one in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def multiple(**sizes: int) -> None:
    """ValueError unless the first size is a multiple of the second."""
    (whole, a), (part, b) = sizes.items()
    if a % b:
        raise ValueError(f"{whole} {a} is not a multiple of {part} {b}")
