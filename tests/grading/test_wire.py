"""What may pass between worker and client, and that nothing else does."""

import gc
import json
import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336lite.grading import wire
from cs336lite.grading.wire import MAGIC, PREFIX, WireError, pack, unpack


def round_trip(value):
    frame = pack("value", value)
    prefix, rest = frame[: PREFIX.size], frame[PREFIX.size :]
    assert wire.frame_length(prefix) == len(rest)
    return unpack(prefix, rest)["value"]


def frame_of(header, body: bytes = b"") -> tuple[bytes, bytes]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return PREFIX.pack(MAGIC, len(text), len(body)), text + body


integers = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | integers | st.floats(allow_nan=False) | st.text() | st.binary()
keys = integers | st.text() | st.binary() | st.tuples(st.binary(), integers)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner) | st.sets(keys),
    max_leaves=20,
)


@settings(derandomize=True, max_examples=200)
@given(values)
def test_plain_values_come_back_equal_and_of_the_same_type(value):
    result = round_trip(value)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("collects", [True, False])
def test_reading_a_frame_collects_no_garbage_and_leaves_the_collector_as_it_was(monkeypatch, collects):
    seen = []
    decode = wire._Decoder.decode
    monkeypatch.setattr(wire._Decoder, "decode", lambda *a: seen.append(gc.isenabled()) or decode(*a))
    try:
        (gc.enable if collects else gc.disable)()
        assert round_trip([1]) == [1] and gc.isenabled() is collects
        with pytest.raises(WireError):
            unpack(*frame_of(b"no JSON"))
        assert gc.isenabled() is collects
    finally:
        gc.enable()
    assert seen and not any(seen)


def test_the_types_of_bpe_answers():
    vocab = {i: bytes([i]) for i in range(256)}
    merges = [(b"\xff", b"\x00"), (b" ", b"t")]
    assert round_trip((vocab, merges)) == (vocab, merges)


@pytest.mark.parametrize("number", [0, 1, 7, 8, 5000])
def test_a_list_of_pairs_of_bytes_is_one_blob(number):
    merges = [(bytes([n % 256]) * (n % 3), b"\x00" * (n % 2)) for n in range(number)]
    result = round_trip(merges)
    assert result == merges and all(type(pair) is tuple for pair in result)
    assert number < wire.FEWEST_PAIRS or len(pack("value", merges)) < 10 * number + 100


@pytest.mark.parametrize(
    "other", [("a", b"b"), (b"a",), [b"a", b"b"], (b"a", b"b", b"c"), (bytearray(b"a"), b"b"), None]
)
def test_one_that_is_no_pair_of_bytes_stays_what_it_is(other):
    result = round_trip([*[(b"a", b"b")] * 20, other])
    assert result == [*[(b"a", b"b")] * 20, other] and type(result[-1]) is type(other)


@pytest.mark.parametrize(
    ("sizes", "body"),
    [
        ([1], b"a"),
        ([1, 1, 1], b"abc"),
        ([1, -1, 1, 1], b"ab"),
        ([1, 2], b"ab"),
        ([1, 1], b"abc"),
        ([True, 1], b"ab"),
        ([1.0, 1], b"ab"),
        (["1", 1], b"ab"),
        ([], b"a"),
        ({"0": 1}, b"a"),
        (None, b""),
        ([0] * (wire.MAX_NODES - wire.MAX_NODES // 4), b""),
    ],
)
def test_pairs_whose_sizes_are_wrong_are_refused(sizes, body):
    with pytest.raises(WireError):
        unpack(*frame_of({"op": "value", "value": {"t": "pairs", "n": sizes, "v": 0}, "sizes": [len(body)]}, body))


@pytest.mark.parametrize("index", [1, -1, None, "0"])
def test_pairs_point_to_a_blob_once(index):
    pairs = {"t": "pairs", "n": [1, 1], "v": 0}
    for value in ({**pairs, "v": index}, [pairs, pairs]):
        with pytest.raises(WireError):
            unpack(*frame_of({"op": "value", "value": value, "sizes": [2]}, b"ab"))


def test_nan_and_infinities():
    assert math.isnan(round_trip(float("nan")))
    assert round_trip([float("inf"), -float("inf")]) == [float("inf"), -float("inf")]


def test_lone_surrogates_survive():
    assert round_trip("a\ud800b") == "a\ud800b"


@pytest.mark.parametrize("dtype", wire.DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors(dtype, shape):
    kind = getattr(torch, dtype)
    tensor = torch.arange(math.prod(shape)).reshape(shape).to(kind)
    result = round_trip(tensor)
    assert result.dtype == kind and result.shape == tensor.shape and torch.equal(result, tensor)


def test_a_strided_view_is_sent_as_what_it_shows():
    tensor = torch.arange(12.0).reshape(3, 4).t()[1:]
    assert torch.equal(round_trip(tensor), tensor)


class Index(int):
    def __index__(self):
        return 7


@pytest.mark.parametrize("value", [object(), lambda: 0, 1j, {"f": print}, iter([1])])
def test_other_objects_are_refused(value):
    with pytest.raises(WireError):
        pack("value", value)


def test_a_value_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(WireError, match="nested"):
        pack("value", loop)


DEEP = b'{"op":"value","value":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

HOSTILE = {
    "not json": frame_of(b"{"),
    "not utf-8": frame_of(b"\xff\xfe"),
    "not an object": frame_of(b"[1]"),
    "no operation": frame_of({"value": 1}),
    "operation of another type": frame_of({"op": 3}),
    "nested beyond json's reader": frame_of(DEEP),
    "nested beyond ours": frame_of(json.dumps({"op": "v", "value": eval("[" * 50 + "]" * 50)}).encode()),
    "sizes do not add up": frame_of({"op": "v", "sizes": [5]}, b"abc"),
    "negative size": frame_of({"op": "v", "sizes": [4, -1]}, b"abc"),
    "boolean size": frame_of({"op": "v", "sizes": [True, 2]}, b"abc"),
    "sizes no list": frame_of({"op": "v", "sizes": "abc"}),
    "huge integer": frame_of(b'{"op":"v","value":' + b"9" * 10_000 + b"}"),
    "unknown tag": frame_of({"op": "v", "value": {"t": "pickle", "v": "x"}}),
    "blob not there": frame_of({"op": "v", "value": {"t": "bytes", "v": 0}}),
    "blob before the first": frame_of({"op": "v", "value": {"t": "bytes", "v": -1}, "sizes": [1]}, b"a"),
    "unhashable key": frame_of({"op": "v", "value": {"t": "dict", "v": [[[], 1]]}}),
    "dict of no pairs": frame_of({"op": "v", "value": {"t": "dict", "v": [1]}}),
    "tuple of no list": frame_of({"op": "v", "value": {"t": "tuple", "v": "abc"}}),
    "object dtype": frame_of(
        {"op": "v", "value": {"t": "tensor", "dtype": "object", "shape": [1], "v": 0}, "sizes": [8]}, b"8" * 8
    ),
    "dtype an attribute": frame_of(
        {"op": "v", "value": {"t": "tensor", "dtype": "load", "shape": [1], "v": 0}, "sizes": [8]}, b"8" * 8
    ),
    "negative shape": frame_of(
        {"op": "v", "value": {"t": "tensor", "dtype": "int8", "shape": [-1, -1], "v": 0}, "sizes": [1]}, b"1"
    ),
    "shape too large": frame_of(
        {"op": "v", "value": {"t": "tensor", "dtype": "int8", "shape": [2**40], "v": 0}, "sizes": [1]}, b"1"
    ),
    "too many dimensions": frame_of(
        {"op": "v", "value": {"t": "tensor", "dtype": "int8", "shape": [1] * 40, "v": 0}, "sizes": [1]}, b"1"
    ),
    "boolean that is neither": frame_of(
        {"op": "v", "value": {"t": "tensor", "dtype": "bool", "shape": [1], "v": 0}, "sizes": [1]}, b"\x02"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_an_error_and_nothing_else(name):
    prefix, rest = HOSTILE[name]
    with pytest.raises(WireError):
        unpack(prefix, rest)


def test_a_cut_frame_is_an_error():
    frame = pack("value", [1, 2, b"abc"])
    with pytest.raises(WireError):
        unpack(frame[: PREFIX.size], frame[PREFIX.size : -1])


@pytest.mark.parametrize(
    "prefix", [b"GET / HTTP/1", struct.pack(">4sII", MAGIC, 2**31, 0), struct.pack(">4sII", MAGIC, 0, 2**31)]
)
def test_a_bad_prefix_is_an_error(prefix):
    with pytest.raises(WireError):
        wire.frame_length(prefix)


@settings(derandomize=True, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data):
    with pytest.raises(WireError):
        unpack(PREFIX.pack(MAGIC, len(data), 0), data)


def hash_of_zero(number):
    return number * (2**61 - 1)


@pytest.mark.parametrize("tag", ["set", "dict"])
def test_members_chosen_to_share_a_hash_are_refused(tag):
    """As dict keys they would cost the square of their number on the trusted side."""
    twins = [{"t": "tuple", "v": [hash_of_zero(n % 4), 7]} for n in range(100)]  # (0, 7) and three that hash alike
    members = [[member, 1] for member in twins] if tag == "dict" else twins
    with pytest.raises(WireError, match="one hash"):
        unpack(*frame_of({"op": "value", "value": {"t": tag, "v": members}, "sizes": []}))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_of_more_than_64_bits_is_refused(number):
    with pytest.raises(WireError, match="64 bits"):
        pack("value", number)
    with pytest.raises(WireError, match="64 bits"):
        unpack(*frame_of({"op": "value", "value": [number], "sizes": []}))


def test_a_blob_can_be_pointed_to_once():
    tensor = {"t": "tensor", "dtype": "uint8", "shape": [4], "v": 0}
    with pytest.raises(WireError, match="not there"):
        unpack(*frame_of({"op": "value", "value": [tensor, tensor], "sizes": [4]}, b"abcd"))


@pytest.mark.parametrize("shape", [[2**31 - 1] * 15 + [0], [2**31 - 1, 2**31 - 1, 0]])
def test_an_empty_tensor_of_impossible_shape_is_refused(shape):
    with pytest.raises(WireError, match="shape"):
        unpack(
            *frame_of({"op": "value", "value": {"t": "tensor", "dtype": "uint8", "shape": shape, "v": 0}, "sizes": [0]})
        )


@pytest.mark.parametrize("other", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_of_more_than_64_bits_is_refused_among_others(other):
    with pytest.raises(WireError):
        pack("value", [1, 2, other])
    with pytest.raises(WireError):
        unpack(*frame_of({"op": "value", "value": [[1, 2, other]]}))
    assert round_trip([True, 1, 2]) == [True, 1, 2] and type(round_trip([True, 1, 2])[0]) is bool


def test_a_list_of_integers_counts_as_its_parts_and_lies_no_deeper_than_others(monkeypatch):
    monkeypatch.setattr(wire, "MAX_NODES", 10)
    assert unpack(*frame_of({"op": "value", "value": [*range(9)]}))["value"] == [*range(9)]
    for value in ([*range(10)], [[1, 2, 3], [4, 5, 6], [7, 8]]):
        with pytest.raises(WireError, match="too many parts"):
            unpack(*frame_of({"op": "value", "value": value}))
    monkeypatch.setattr(wire, "MAX_DEPTH", 3)
    assert round_trip([[[1]]]) == [[[1]]]
    with pytest.raises(WireError, match="nested"):
        pack("value", [[[[1]]]])
    with pytest.raises(WireError, match="nested"):
        unpack(*frame_of({"op": "value", "value": [[[[1]]]]}))
