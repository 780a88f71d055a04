"""Appendix 10x: ranks that torchrun starts, equal to one process, checkpoints of any number of ranks, and failures told."""

import json

import pytest
import torch
from helpers import ROOT

from cs336lite.distributed import launch


def weights(folder):
    return torch.load(folder / "weights.pt")


def furthest(a, b):
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_two_ranks_that_are_replicas_have_the_same_losses_as_the_record(tmp_path):
    recorded = json.loads((ROOT / "notebooks" / "results" / "10x_torchrun.json").read_text())["result"]
    said = launch(2, "ddp", 0, 3, tmp_path)
    for one, kept in zip(said, recorded["ddp"]["ranks"], strict=True):
        assert one["losses"] == pytest.approx(kept["losses"][:3], abs=1e-4)
        assert one["collectives"] == kept["collectives"] == {"allreduce": 1}
    assert (tmp_path / "checkpoint" / ".metadata").exists()


@pytest.mark.slow
def test_every_way_is_one_process_and_a_checkpoint_of_two_ranks_goes_on_with_one_and_with_two(tmp_path):
    launch(1, "one", 0, 6, tmp_path / "one")
    whole = weights(tmp_path / "one")
    for way in ("fsdp2", "tensor"):
        said = launch(2, way, 0, 6, tmp_path / way)
        assert furthest(weights(tmp_path / way), whole) < 1e-4
        assert max(one["weights"] for one in said) < 0.6 * sum(x.numel() for x in whole.values())
    for ranks in (1, 2):
        folder = tmp_path / f"on {ranks}"
        launch(2, "fsdp2", 0, 3, folder)
        halfway = weights(folder)
        launch(ranks, "fsdp2", 3, 6, folder)
        assert furthest(weights(folder), whole) < 1e-4 < furthest(halfway, whole)


@pytest.mark.slow
def test_a_rank_that_fails_is_told_with_its_number_and_its_reason(tmp_path):
    with pytest.raises(RuntimeError, match=r"\[rank[01]\]: ValueError: there is no way 'zero'"):
        launch(2, "zero", 0, 1, tmp_path)


@pytest.mark.slow
def test_ranks_that_are_not_done_in_time_are_ended(tmp_path):
    with pytest.raises(RuntimeError, match="not done after 1 seconds"):
        launch(2, "ddp", 0, 1, tmp_path, timeout=1)
    assert not (tmp_path / "rank-0.json").exists()
