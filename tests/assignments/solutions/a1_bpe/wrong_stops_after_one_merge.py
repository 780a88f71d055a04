"""Encodes with the first merge that a piece holds, and no other.

fails: encode.merges_apply_by_rank, encode.stays_inside_pre_tokens, encode.runs_of_one_character, encode.costs_what_the_text_is_long, encode.text_of_every_script, encode.ids_come_from_the_vocabulary, encode.only_merges_make_tokens, encode.nothing_at_all, encode.reads_gpt2_files, encode.an_ordinary_text_is_encoded, special_tokens.names_are_literal, special_tokens.leftmost_then_longest, special_tokens.missing_ones_get_the_next_free_ids, special_tokens.tokenizer_leaves_its_arguments, encode_iterable.equals_encode_on_the_joined_text, encode_iterable.reads_only_what_it_needs, encode_iterable.reads_on_beside_special_tokens, encode_iterable.lines_of_a_file, encode_iterable.blocks_of_a_file
names: only one of the merges is applied
"""  # noqa: E501

from _base import *


class Tokenizer(Tokenizer):
    def tokens(self, piece):
        word = [bytes([byte]) for byte in piece.encode()]
        ranks = [self.rank_of.get(pair, len(self.rank_of)) for pair in zip(word, word[1:])]
        if not ranks or min(ranks) == len(self.rank_of):
            return word
        best, merged, at = min(ranks), [], 0
        while at < len(word):
            joins = at < len(ranks) and ranks[at] == best
            merged.append(b"".join(word[at : at + 1 + joins]))
            at += 1 + joins
        return merged
