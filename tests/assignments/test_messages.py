"""What a check says is true of the code: sentences that were once false of some solution, or sent people the wrong way.

A row names a solution of the catalogue, a check that it fails, and words that the message holds. Where a check cannot see
its own difficulty for another mistake, it says so (`LATER`) and claims nothing.
"""

from __future__ import annotations

import pytest
from catalogue import DetachedStudent, namespace, solutions, spec

LATER = "this is judged when"
SAID = {
    "a2_attention": [
        ("softmax_over_queries", "attention.mask_broadcasts", LATER),  # masks broadcast there
        ("softmax_not_normalised", "attention.mask_broadcasts", LATER),
        ("rope_without_positions", "positions.rope_turns", "rope is called without positions"),
    ],
    "a3_rope": [
        ("positions_turned_round", "rotation.dtype_is_kept", "other positions stand beside its own"),
        ("positions_turned_round", "positions.any_number_of_dimensions", "other positions stand beside its own"),
        ("positions_turned_round", "positions.negative_positions_are_refused", "other positions stand beside its own"),
        ("positions_turned_round", "module.a_converted_module_is_as_exact", "other positions stand beside its own"),
        ("only_contiguous_positions", "positions.rows_have_their_own_positions", "the position at its own place"),
        ("float32_matrices", "rotation.dtype_is_kept", "raises an exception, and x in float32 does not"),
    ],
    "a6_inference": [
        ("acceptance_inverted", "speculative.replacement", "a draft that must be refused is kept"),
        ("acceptance_inverted", "speculative.both_ends", "that must be refused"),
        ("most_probable_token", "speculative.replacement", "is the most probable one, whatever the last number is"),
        ("draws_with_the_same_number", "speculative.replacement", "drawn with the random number of the draft"),
        ("groups_of_every_nth", "quantize.zero_group", LATER),
        ("groups_of_every_nth", "quantize.quantize_dtypes", LATER),
        ("one_scale_for_a_row", "quantize.quantize_dtypes", LATER),
        ("eps_in_every_scale", "quantize.zero_group", "a group of zeros changes the scales of others"),
        ("computed_in_bfloat16", "quantize.quantize_dtypes", "in bfloat16 are rounded"),
        ("temperature_ignored", "sampling.sampling_at_the_edges", LATER),
        ("multiplies_by_temperature", "sampling.sampling_at_the_edges", LATER),
        ("min_p_ignored", "sampling.sampling_at_the_edges", "and no others"),
        ("top_k_not_renormalised", "sampling.sampling_at_the_edges", "not divided by its sum after top_k"),
        ("top_k_not_renormalised", "sampling.top_p_reaches_p", "is judged when top_k is right"),
        ("top_k_of_the_least", "sampling.top_p_reaches_p", "is judged when top_k is right"),
        ("top_k_one_too_many", "sampling.sampling_at_the_edges", "does not keep as many as it should"),
        ("top_p_drops_the_last", "sampling.sampling_at_the_edges", "does not keep as many as it should"),
        ("a_block_for_an_empty_text", "paged.freed", LATER),
        ("free_takes_shared_blocks", "paged.freed", "count its owners"),
    ],
    "a7_parallel": [
        ("last_rank_takes_the_rest", "zero.uneven_shards", "of n / world_size numbers, rounded up"),
        ("full_state", "zero.uneven_shards", "as large as without ZeRO"),
        ("newest_backward_first", "pipeline.few_microbatches", "the oldest goes first"),
        ("one_forward_too_many", "pipeline.few_microbatches", "more than num_stages - stage micro-batches"),
        ("gpipe", "pipeline.few_microbatches", "as in GPipe"),
        ("only_the_first_bucket", "buckets.bucket_by_bucket", "is a bucket left out?"),
        ("only_the_first_bucket", "buckets.two_dtypes", "is a bucket left out?"),
    ],
}
PASSED = [("a6_inference", "goes_on_after_a_refusal", "speculative.acceptance")]  # what is wrong there is another thing


def message_of(assignment: str, name: str, wanted: str, seed: int) -> str:
    """What one check says of one solution; empty where it passes."""
    (solution,) = (one for one in solutions(assignment, "wrong") if one.name == f"wrong_{name}")
    (check,) = (one for one in spec(assignment, "hidden") if one.id == wanted)
    student = DetachedStudent(namespace(solution.source, solution.name))
    try:
        result = check.run(student, seed)
    finally:
        student.close()
    assert not result.fault
    return result.message


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(
    ("assignment", "name", "check", "words"), [(a, *row) for a, rows in SAID.items() for row in rows]
)
def test_what_is_said_is_so(assignment, name, check, words, seed):
    assert words in message_of(assignment, name, check, seed)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("assignment", "name", "check"), PASSED)
def test_what_is_right_passes(assignment, name, check):
    assert message_of(assignment, name, check, 3) == ""
