"""The count of a pair begins at 1 where it is first met, so that it is one too high.

fails: train.ties_go_to_the_greatest_pair, train.stops_when_no_pair_is_left, train.long_runs_agree
names: counts begin at 1
may: train.an_ordinary_text_is_learned
"""

from _base import *


class FromOne(dict):
    """The counts of the first pairs, while there are no others."""

    def get(self, pair, default=None):
        return super().get(pair, 1 if self.first else default)


class Training(Training):
    def pairs(self, word):
        return list(super().pairs(word))

    def run(self, path, vocab_size, special_tokens):
        self.check(vocab_size, special_tokens)
        words, times, counts, where = [], [], FromOne(), defaultdict(set)
        counts.first = True
        for piece, number in Counter(self.pieces(self.read(path), special_tokens)).items():
            words.append(self.spell(piece))
            times.append(number)
            for pair in self.pairs(words[-1]):
                counts[pair] = counts.get(pair, 0) + number
                where[pair].add(len(words) - 1)
        counts.first, merges = False, []
        while counts and len(merges) < self.number_of_merges(vocab_size, special_tokens):
            pair = self.choose(counts, merges)
            merges.append(pair)
            for i in sorted(where.pop(pair, ())):
                old, words[i] = words[i], self.merge(words[i], pair)
                for gone in self.pairs(old) if old != words[i] else ():
                    self.lower(counts, gone, times[i])
                for made in self.pairs(words[i]) if old != words[i] else ():
                    counts[made] = counts.get(made, 0) + times[i]
                    where[made].add(i)
        return self.vocabulary(special_tokens, merges), merges
