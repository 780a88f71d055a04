"""Token ids in files, and batches that two numbers determine."""

import os
import pickle

import numpy as np
import pytest
import torch

from cs336lite.training import Tokens, generator, write_tokens

pytestmark = pytest.mark.usefixtures("one_thread")


def test_tokens_are_written_as_they_come_and_mapped_not_read(tmp_path):
    ids = np.random.default_rng(0).integers(0, 50_000, 2**20 + 5)
    assert write_tokens(tmp_path / "a.npy", (int(i) for i in ids), vocab_size=50_257) == len(ids)
    tokens = Tokens(tmp_path / "a.npy")
    assert isinstance(tokens.ids, np.memmap) and tokens.ids.dtype == np.uint16
    assert np.array_equal(tokens.ids, ids) and np.array_equal(np.load(tmp_path / "a.npy"), ids)
    assert tokens.fingerprint == Tokens(ids).fingerprint != Tokens(ids[1:]).fingerprint
    assert write_tokens(tmp_path / "b.npy", [70_000], vocab_size=100_000) == 1
    assert Tokens(tmp_path / "b.npy").ids.dtype == np.uint32
    assert os.listdir(tmp_path) and not list(tmp_path.glob(".*"))


def test_a_mapped_file_travels_to_another_process_as_its_path(tmp_path):
    write_tokens(tmp_path / "a.npy", range(10_000), vocab_size=10_000)
    sent = pickle.dumps(Tokens(tmp_path / "a.npy"))
    assert len(sent) < 500 and isinstance(pickle.loads(sent).ids, np.memmap)
    assert np.array_equal(pickle.loads(pickle.dumps(Tokens([1, 2, 3]))).ids, [1, 2, 3])


@pytest.mark.parametrize("bad", [[3, -1], [3, 50], [50]])
def test_an_id_outside_the_vocabulary_leaves_no_file(tmp_path, bad):
    with pytest.raises(ValueError, match="vocab_size is 50"):
        write_tokens(tmp_path / "a.npy", bad, vocab_size=50)
    assert not list(tmp_path.iterdir())


def test_batches_are_windows_and_the_tokens_after_them():
    tokens = Tokens(np.arange(20))
    inputs, targets = tokens.batch(500, 5, generator(0, 0))
    assert inputs.shape == targets.shape == (500, 5) and inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(inputs + 1, targets) and torch.equal(inputs[:, 1:], targets[:, :-1])
    assert set(inputs[:, 0].tolist()) == set(range(15))  # every place where a window fits, the first and the last too
    again, _ = tokens.batch(500, 5, generator(0, 0))
    other, _ = tokens.batch(500, 5, generator(0, 1))
    assert torch.equal(inputs, again) and not torch.equal(inputs, other)


def test_data_that_cannot_be_tokens_is_refused():
    with pytest.raises(ValueError, match="6 tokens, and there are 5"):
        Tokens(np.arange(5)).batch(1, 5, generator(0, 0))
    for wrong in (np.zeros(4), np.zeros((2, 2), int)):
        with pytest.raises(ValueError, match="one row of integers"):
            Tokens(wrong)


def test_what_is_no_whole_number_is_no_id(tmp_path):
    with pytest.raises(ValueError, match="token ids are whole numbers"):
        write_tokens(tmp_path / "a.npy", (n / 4 for n in (4, 8, 9)), vocab_size=50)
    assert not list(tmp_path.iterdir())


def test_a_large_vocabulary_has_large_ids(tmp_path):
    write_tokens(tmp_path / "a.npy", [2**32 + 5], vocab_size=2**33)
    assert Tokens(tmp_path / "a.npy").ids.tolist() == [2**32 + 5]
