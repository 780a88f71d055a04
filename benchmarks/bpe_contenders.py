"""One run of one contender of `bpe`, in a process of its own: what it takes is printed as JSON."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

END = "<|endoftext|>"


def stream_documents(path: str) -> Iterator[str]:
    """The documents of a corpus, without the file in memory."""
    rest = b""
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            *whole, rest = (rest + block).split(END.encode())
            yield from (document.decode(errors="replace") for document in whole)
    yield rest.decode(errors="replace")


def timed(function) -> tuple[float, object]:
    start = time.perf_counter()
    answer = function()
    return time.perf_counter() - start, answer


def train(contender: str, path: str, vocab_size: int) -> dict:
    from cs336lite.bpe import PATTERN, gpt2_byte_to_unicode, train_bpe

    if contender == "tokenizers":
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        peer = Tokenizer(models.BPE())
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        seconds, _ = timed(lambda: peer.train_from_iterator(stream_documents(path), trainer))
        back = {character: b for b, character in gpt2_byte_to_unicode().items()}
        pairs = json.loads(peer.to_str())["model"]["merges"]
        tokens = [bytes(back[character] for character in first + second) for first, second in pairs]
    elif contender == "rustbpe":
        import rustbpe

        peer = rustbpe.Tokenizer()
        seconds, _ = timed(lambda: peer.train_from_iterator(stream_documents(path), vocab_size - 1, pattern=PATTERN))
        tokens = [bytes(token) for token, _ in sorted(peer.get_mergeable_ranks(), key=lambda item: item[1])][256:]
    else:
        rule = contender.removeprefix("cs336lite ")
        seconds, (_, merges) = timed(lambda: train_bpe(path, vocab_size, [END], tie_break=rule))
        tokens = [first + second for first, second in merges]
    return {"seconds": seconds, "answer": hashlib.sha256(repr(tokens).encode()).hexdigest(), "merges": len(tokens)}


def encode(contender: str, vocab: str, merges: str, path: str, warm: str) -> dict:
    from cs336lite.bpe import PATTERN, Tokenizer

    ours = Tokenizer.from_files(vocab, merges, [END])
    text = Path(path).read_bytes().decode(errors="replace")
    ours.encode("a")  # makes its tables, as the peers do when they are made
    extra = {}
    if contender == "tiktoken":
        import tiktoken

        ranks = {token: i for i, token in ours.vocab.items() if token != END.encode()}
        peer = tiktoken.Encoding("ours", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={END: 0})
        seconds, ids = timed(lambda: peer.encode(text, allowed_special="all"))
    elif contender.startswith("tokenizers"):
        from tokenizers import Tokenizer as Peer
        from tokenizers import models, pre_tokenizers

        peer = Peer(models.BPE.from_file(vocab, merges))
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        peer.add_special_tokens([END])
        if contender == "tokenizers":
            seconds, ids = timed(lambda: peer.encode(text).ids)
        else:
            parts = [document + END for document in text.split(END)[:-1]]
            seconds, ids = timed(lambda: [i for part in peer.encode_batch(parts) for i in part.ids])
    elif contender == "cs336lite stream":
        before, peak, ids = resident(), 0, hashlib.sha256()
        start = time.perf_counter()
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            for count, i in enumerate(ours.encode_iterable(file)):
                ids.update(b"%d," % i)
                if count % 50_000 == 0:
                    peak = max(peak, resident())
        seconds, extra = time.perf_counter() - start, {"extra_bytes": peak - before}
        return {"seconds": seconds, "answer": ids.hexdigest(), "bytes": os.path.getsize(path), **extra}
    else:
        if contender == "cs336lite warm":
            ours.encode(Path(warm).read_bytes().decode(errors="replace"))
        seconds, ids = timed(lambda: ours.encode(text))
    digest = hashlib.sha256()
    for start in range(0, len(ids), 10_000):
        digest.update(b"".join(b"%d," % i for i in ids[start : start + 10_000]))
    return {"seconds": seconds, "answer": digest.hexdigest(), "bytes": os.path.getsize(path), **extra}


def resident() -> int:
    import psutil

    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    job, contender, *arguments = json.loads(sys.argv[1])
    print(json.dumps({"train": train, "encode": encode}[job](contender, *arguments)))
