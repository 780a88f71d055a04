"""Weights from Hugging Face's files (权重) for the model of lecture 03.

`load_hugging_face` reads a folder with config.json and safetensors of a family in `FAMILIES`; its two halves are
`config_from_hugging_face` and `from_hugging_face`. Which file is read, and what a config means, is as in transformers
5.23. What changes the logits there and has no place in `Transformer` is refused by name, before a model is made.

One file a thing: `settings` reads config.json and refuses what nobody asked for, `rope` holds the scalings of RoPE,
`slots` what families put into other slots of the model, `fields` makes a configuration of a family's settings, `names`
says what its tensors are called, `families` joins these, `files` finds and opens the files, `tensors` checks and converts
what they hold, `load` makes the model.
"""

from cs336lite.course.hugging_face.families import FAMILIES, config_from_hugging_face
from cs336lite.course.hugging_face.load import WithoutMemory, from_hugging_face, load_hugging_face

__all__ = ["FAMILIES", "WithoutMemory", "config_from_hugging_face", "from_hugging_face", "load_hugging_face"]
