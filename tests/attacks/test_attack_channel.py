"""Forged frames: what a submission can send over its own channel to the trusted side, and when."""

import contextlib
import json
import time
import tracemalloc

import pytest
from arena import RIGHT, Case, family, right, wrong

from cs336lite.grading import wire

CHANNEL = """
import json, os, socket, struct, time
def channels():
    for fd in range(3, 64):
        try:
            yield socket.socket(fileno=fd)
        except OSError:
            pass
def frame(header, body=b"", **sizes):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">4sII", b"c3w1", sizes.get("text", len(text)), sizes.get("body", len(body))) + text + body
def send(data):
    for channel in channels():
        channel.setblocking(True)
        try:
            channel.sendall(data)
        except OSError:
            pass
        channel.detach()
"""


def forger(data, then="return None", times=1):
    """A notebook that sends these bytes, a Python expression, as soon as it is asked for anything."""
    body = f"\n    for _ in range({times}):\n        send({data})\n    {then}"
    return wrong(
        before=(CHANNEL,),
        double=f"def double(x):{body}",
        softmax=f"def softmax(x, dim):{body}",
        count=f"def count(path, word):{body}",
    )


def value(text, body="b''"):
    """A forged answer whose value is this JSON."""
    return forger(
        f'frame(b\'{{"op": "value", "value": {text}, "sizes": [\' + str(len({body})).encode() + b\']}}\', {body})'
    )


TENSOR = '{"t": "tensor", "dtype": "%s", "shape": %s, "v": %s}'
FLOOD = "frame({'op': 'value', 'value': {'t': '%s', 'v': %s}})"
COLLIDING = "[k * (2**61 - 1) for k in range(1, 12000)]"
CASES = [
    Case(
        "garbage",
        forger("b'this is no frame at all' * 100"),
        right(before=("import sys\nprint('c3w1' + chr(0) * 8)\nsys.stderr.write('c3w1')",)),
    ),
    Case("oversized", forger("struct.pack('>4sII', b'c3w1', 2**32 - 1, 2**32 - 1)")),
    Case("oversized-sum", forger("struct.pack('>4sII', b'c3w1', 30 << 20, 250 << 20)", "os._exit(0)")),
    Case("truncated", forger("frame(b'{}', text=1000)", "os._exit(0)")),
    Case("empty-frame", forger("frame(b'')")),
    Case("one-byte", forger("b'c'", "os._exit(1)")),
    Case("not-json", forger('frame(b\'{"op": "value", "value": \')')),
    Case("not-utf8", forger('frame(b\'{"op": "value", "value": "\\xff\\xfe"}\')')),
    Case("json-list", forger("frame(['value', True])")),
    Case("no-op", forger("frame({'value': True})")),
    Case("op-number", forger("frame({'op': 1, 'value': True})")),
    Case("other-op", forger("frame({'op': 'passed', 'value': True, 'points': 10})")),
    Case("ready-again", forger("frame({'op': 'ready', 'value': ['Landlock', 'seccomp', 'bubblewrap']})")),
    Case("loaded-for-value", forger("frame({'op': 'loaded', 'value': []})")),
    Case(
        "more-fields",
        forger("frame({'op': 'value', 'value': 0, 'passed': True, 'points': 10, 'score': 10, 'sizes': []})"),
    ),
    Case("nested", forger("frame(b'{\"op\": \"value\", \"value\": ' + b'[' * 100000 + b']' * 100000 + b'}')")),
    Case(
        "nested-tags",
        forger('frame(b\'{"op": "value", "value": \' + b\'{"t": "tuple", "v": [\' * 400 + b\']}\' * 400 + b\'}\')'),
    ),
    Case("json-nan", value("NaN")),
    Case("json-infinity", value("[Infinity, -Infinity, 1e999]")),
    Case("huge-integer", forger("frame(b'{\"op\": \"value\", \"value\": ' + b'9' * 5_000_000 + b'}')")),
    Case(
        "big-integer",
        forger("frame(b'{\"op\": \"value\", \"value\": ' + b'9' * 4000 + b'}')"),
        right(double="def double(x):\n    return (x << 9000) // (1 << 8999) if isinstance(x, int) else x * 2"),
    ),
    Case(
        "double-keys",
        forger('frame(b\'{"op": "error", "op": "value", "value": 1, "value": true, "sizes": [], "sizes": []}\')'),
    ),
    Case("unknown-tag", value('{"t": "object", "v": []}')),
    Case("tag-of-lists", value('{"t": ["tuple"], "v": {}}')),
    Case("float-tag", value('{"t": "float", "v": "__import__"}')),
    Case("unhashable-key", value('{"t": "dict", "v": [[[], 1]]}')),
    Case("dict-pairs", value('{"t": "dict", "v": [[1, 2, 3]]}')),
    Case("wrong-dtype", value(TENSOR % ("complex64", "[1]", "0"), "bytes(8)")),
    Case("dtype-attribute", value(TENSOR % ("load", "[1]", "0"), "bytes(8)")),
    Case("negative-shape", value(TENSOR % ("float32", "[-1, -2]", "0"), "bytes(8)")),
    Case("vast-shape", value(TENSOR % ("uint8", "[" + "2147483647, " * 14 + "0]", "0"))),
    Case("float-shape", value(TENSOR % ("float32", "[2.0]", "0"), "bytes(8)")),
    Case("short-tensor", value(TENSOR % ("float32", "[4, 4]", "0"), "bytes(8)")),
    Case("odd-booleans", value(TENSOR % ("bool", "[8]", "0"), "bytes(range(8))")),
    Case("blob-missing", value(TENSOR % ("uint8", "[8]", "5"), "bytes(8)")),
    Case("blob-negative", value('{"t": "bytes", "v": -1}', "bytes(8)")),
    Case("blob-true", value('{"t": "bytes", "v": true}', "bytes(8)")),
    Case(
        "sizes-negative", forger("frame({'op': 'value', 'value': {'t': 'bytes', 'v': 0}, 'sizes': [16, -8]}, bytes(8))")
    ),
    Case("sizes-short", forger("frame({'op': 'value', 'value': {'t': 'bytes', 'v': 0}, 'sizes': [1]}, bytes(8))")),
    Case(
        "one-blob-many-tensors",
        forger(
            "frame({'op': 'value', 'value': [{'t': 'tensor', 'dtype': 'uint8', 'shape': [1 << 20], 'v': 0}] * 50, "
            "'sizes': [1 << 20]}, bytes(1 << 20))"
        ),
    ),
    Case("many-blobs", forger("frame({'op': 'value', 'value': 1, 'sizes': [0] * 200_000})")),
    Case("colliding-set", forger(FLOOD % ("set", COLLIDING))),
    Case("colliding-dict", forger(FLOOD % ("dict", f"[[k, 0] for k in {COLLIDING}]"))),
    Case(
        "error-markup",
        forger("frame({'op': 'error', 'kind': '<script>', 'cell': '<b>', 'line': '1', 'detail': {'a': 1}})"),
    ),
    Case(
        "error-odd",
        forger("frame({'op': 'error', 'kind': ['x'], 'cell': 1, 'line': [], 'value': {'t': 'float', 'v': 'nan'}})"),
    ),
    Case("queue-ahead", forger("frame({'op': 'value', 'value': 1})", times=40)),
    Case(
        "before-the-question",
        wrong(
            before=(
                CHANNEL + "send(frame({'op': 'loaded', 'value': []}) + frame({'op': 'value', 'value': True}) * 30)",
            )
        ),
        right(before=("import os\nos.write(1, b'c3w1' * 10)",)),
    ),
    Case(
        "shifted-answers",
        # one answer too many at the start, so that every later one is read as the answer to the next question
        right(before=(CHANNEL + "send(frame({'op': 'value', 'value': 0}))",)),
        earned=10.0,
    ),
    Case(
        "load-errors-forged",
        wrong(
            before=(CHANNEL + "send(frame({'op': 'loaded', 'value': [{'cell': '<b>', 'kind': 'x', 'line': 1}] * 9}))",)
        ),
    ),
    Case(
        "load-errors-odd", wrong(before=(CHANNEL + "send(frame({'op': 'loaded', 'value': {'t': 'tuple', 'v': []}}))",))
    ),
    Case("closed", forger("b''", "[c.shutdown(2) for c in channels()]")),
    Case(
        "handles",
        forger("b''", "[socket.send_fds(c, [b'c'], [0, 1, 2]) for c in channels()]; os._exit(0)"),
    ),
    Case(
        "slow-drip",
        wrong(
            before=(CHANNEL,),
            double="def double(x):\n    for byte in frame({'op': 'value', 'value': x}):\n        send(bytes([byte])); time.sleep(0.5)",
        ),
        right(double="import time\ndef double(x):\n    for _ in range(4):\n        time.sleep(0.02)\n    return x + x"),
    ),
    Case(
        "quick-drip",
        # something always comes before anybody waits; it would take hours, asleep
        wrong(
            before=(CHANNEL,),
            double="def double(x):\n    send(struct.pack('>4sII', b'c3w1', 10, 60_000_000))\n"
            "    handles = [channel.detach() for channel in channels()]\n"
            "    while True:\n        [os.write(handle, b' ') for handle in handles]; time.sleep(0.0003)",
        ),
        right(double="def double(x):\n    bytes(60_000_000)\n    return x + x"),
    ),
    Case(
        "driver-question",
        # the question holds the driver and its inputs; nothing of it is an answer
        wrong(
            before=(CHANNEL,),
            double="import sys\ndef double(x):\n    return sys._getframe(3).f_locals['frame']['value'][0]",
        ),
    ),
    Case("large-answer", None, right(softmax=RIGHT["softmax"] + "\npad = torch.zeros(1000, 1000)")),
    Case("closed-streams", None, right(before=("import os, sys\nsys.stdout.close()\nsys.stdin.close()\nos.close(2)",))),
]

outcome, test_attack, test_twin, test_class = family("channel", CASES)


# -- the decoder by itself: what it costs must grow as its input does --------------------------------------------


def packed(header, body=b""):
    text = json.dumps(header).encode()
    return wire.PREFIX.pack(wire.MAGIC, len(text), len(body)), text + body


def decoding_time(value):
    prefix, rest = packed({"op": "value", "value": value})
    started = time.process_time()
    with contextlib.suppress(wire.WireError):
        wire.unpack(prefix, rest)
    return time.process_time() - started


@pytest.mark.parametrize("kind", ["set", "dict"])
def test_keys_made_to_collide_cost_no_more_than_others(kind):
    def of(step, count):
        keys = [step * k for k in range(1, count)]
        return {"t": kind, "v": keys if kind == "set" else [[key, 0] for key in keys]}

    # all of the left have one hash in CPython; a table of them is filled in quadratic time
    hostile = min(decoding_time(of(2**61 - 1, 10_000)) for _ in range(2))
    innocent = min(decoding_time(of(2**60 + 1, 10_000)) for _ in range(3))
    assert hostile < 10 * innocent + 0.02


def test_tensors_that_share_a_blob_take_no_more_memory_than_was_sent():
    size, count = 1 << 18, 100
    tensor = {"t": "tensor", "dtype": "uint8", "shape": [size], "v": 0}
    prefix, rest = packed({"op": "value", "value": [tensor] * count, "sizes": [size]}, bytes(size))
    wire.unpack(*packed({"op": "value", "value": tensor, "sizes": [size]}, bytes(size)))  # imports torch
    tracemalloc.start()
    try:
        wire.unpack(prefix, rest)
    except wire.WireError:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 10 * size


@pytest.mark.parametrize("shape", [[2**31 - 1] * 15 + [0], [0] + [2**31 - 1] * 3])
def test_a_shape_that_torch_cannot_make_is_a_wire_error(shape):
    with pytest.raises(wire.WireError):
        wire.unpack(
            *packed({"op": "value", "value": {"t": "tensor", "dtype": "int8", "shape": shape, "v": 0}, "sizes": [0]})
        )
