"""Is the vectorised codec the tokenizer, and how much faster is it?

    python experiments/tokenizer_speed/run.py parity  --data FOLDER [CORPUS ...] [--every N]
    python experiments/tokenizer_speed/run.py speed   --data FOLDER [CORPUS ...]
    python experiments/tokenizer_speed/run.py load    --data FOLDER [CORPUS ...]
    python experiments/tokenizer_speed/run.py others  --data FOLDER [CORPUS ...] [--every N]
    python experiments/tokenizer_speed/run.py tokens  --data FOLDER [CORPUS ...] [--every N]
    python experiments/tokenizer_speed/run.py merges  --data FOLDER [CORPUS ...]

FOLDER holds unpacked corpora, each with manifest.jsonl. ``parity`` compares ids on every N-th file with TrackREMI on
miditok's own event path, and with stock REMI wherever no program repeats; and it checks that decoding is the inverse.
``speed`` measures CPU time from MIDI bytes to ids, the two taking turns every 20 files, medians
over files. ``load`` prepares each corpus and compares reading a piece (ids, bars and beats)
from the memory-mapped store with miditok's way from the file. ``others`` does for all tokenizers what ``parity`` and
``speed`` do for REMI: ids of every N-th file on miditok's own event path and on ours, CPU time of both from a parsed
score, and of decoding. ``tokens`` counts tokens per note of every tokenizer. ``merges`` measures learning and applying
byte pair encoding.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import miditok
import numpy as np
from symusic import Score

from aurl.data.codec import Codec
from aurl.data.config import TOKENIZERS, DataConfig, Source, TokenizerConfig
from aurl.data.merges import Merges
from aurl.data.prepare import prepare
from aurl.data.store import TokenStore
from aurl.data.tokenizer import miditok_config

CORPORA = (
    "jsb-chorales",
    "nottingham",
    "pop909",
    "multitrack-free",
    "groove",
    "openscore",
    "asap-piano",
    "giantmidi-sample",
)
SPEED_FILES = 60
REPEATS = 3
BLOCK = 20
MICROSECONDS = 1e6


def files_of(data: Path, corpus: str) -> list[Path]:
    """Main files of a corpus; for POP909 also the quantised cl.mid beside each."""
    folder = data / corpus
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    main = [folder / json.loads(line)["path"] for line in lines]
    return main + [path.parent / "cl.mid" for path in main if (path.parent / "cl.mid").is_file()]


def repeats_a_program(score: Score) -> bool:
    programs = [-1 if track.is_drum else track.program for track in score.tracks if len(track.notes)]
    return len(set(programs)) < len(programs)


def parity(data: Path, corpora: list[str], every: int) -> None:
    config = TokenizerConfig()
    codec, stock = Codec.from_config(config), miditok.REMI(miditok_config(config))
    print("| corpus | files | = TrackREMI | no program repeats | = stock REMI | decode is the inverse | tokens |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for corpus in corpora:
        files, same, single, same_stock, inverse, tokens = 0, 0, 0, 0, 0, 0
        for path in files_of(data, corpus)[::every]:
            score = Score(path)
            ids = codec.encode(score)
            files += 1
            tokens += len(ids)
            same += ids.tolist() == codec.tokenizer(score).ids
            if not repeats_a_program(score):
                single += 1
                same_stock += ids.tolist() == stock(score).ids
            ids = codec.encode(codec.prepare_score(score)[0])
            inverse += np.array_equal(codec.encode(codec.decode(ids, cut_overlaps=False)), ids)
        print(f"| {corpus} | {files} | {same} | {single} | {same_stock} | {inverse} | {tokens:,} |", flush=True)


def cpu_times(call: Callable[[Any], object], inputs: Sequence[Any]) -> list[float]:
    """CPU time of each call in microseconds."""
    times = []
    for item in inputs:
        started = time.process_time()
        call(item)
        times.append((time.process_time() - started) * MICROSECONDS)
    return times


def speed(data: Path, corpora: list[str]) -> None:
    config = TokenizerConfig()
    codec, stock = Codec.from_config(config), miditok.REMI(miditok_config(config))

    def fast(blob: bytes) -> object:
        return codec.encode(Score.from_midi(blob))

    def slow(blob: bytes) -> object:
        return stock(Score.from_midi(blob)).ids

    print("| corpus | notes | parse | miditok REMI | bytes to ids | one file at a time in turn with miditok | decode |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for corpus in corpora:
        paths = files_of(data, corpus)
        blobs = [path.read_bytes() for path in paths[:: max(len(paths) // SPEED_FILES, 1)]]
        rows = []
        for _ in range(REPEATS):
            for start in range(0, len(blobs), BLOCK):
                block = blobs[start : start + BLOCK]
                scores = [Score.from_midi(blob) for blob in block]
                columns = [
                    [score.note_num() for score in scores],
                    cpu_times(Score.from_midi, block),
                    cpu_times(fast, block),
                    cpu_times(slow, block),
                    [(cpu_times(slow, [blob]), cpu_times(fast, [blob])[0])[1] for blob in block],
                    cpu_times(codec.decode, [codec.encode(score) for score in scores]),
                ]
                rows += list(zip(*columns, strict=True))
        notes, parse, ours, theirs, in_turn, decode = np.median(np.array(rows), axis=0)
        print(
            f"| {corpus} | {notes:.0f} | {parse:.0f} us | {theirs:.0f} us | {ours:.0f} us, **{theirs / ours:.1f}x** "
            f"| {in_turn:.0f} us, {theirs / in_turn:.1f}x | {decode:.0f} us |",
            flush=True,
        )


def load(data: Path, corpora: list[str]) -> None:
    stock = miditok.REMI(miditok_config(TokenizerConfig()))
    print(
        "| corpus | pieces | miditok from the file | ids from the store, warm "
        "| time saved | with bars and beats | time saved |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for corpus in corpora:
        with tempfile.TemporaryDirectory() as cache:
            source = DataConfig(name=corpus, source=Source.archive, path=str(data / corpus))
            store = prepare(source, TokenizerConfig(), Path(cache), progress=False)

            def ids(number: int, store: TokenStore = store) -> object:
                return store.ids(number).copy()

            def piece(number: int, store: TokenStore = store) -> object:
                return store.ids(number).copy(), store.bars(number).copy(), store.beats(number).copy()

            numbers = range(0, len(store), max(len(store) // SPEED_FILES, 1))
            paths = [Path(store.pieces[number].path) for number in numbers]
            cpu_times(piece, numbers)  # the first pass warms the page cache, as a first epoch does
            times = [], [], []
            for _ in range(REPEATS):
                for start in range(0, len(numbers), BLOCK):
                    times[0].extend(cpu_times(lambda path: stock(Score(path)).ids, paths[start : start + BLOCK]))
                    times[1].extend(cpu_times(ids, numbers[start : start + BLOCK]))
                    times[2].extend(cpu_times(piece, numbers[start : start + BLOCK]))
            slow, fast, whole = (float(np.median(column)) for column in times)
            print(
                f"| {corpus} | {len(numbers)} | {slow:.0f} us | {fast:.1f} us | **{100 * (1 - fast / slow):.2f} %** "
                f"| {whole:.1f} us | {100 * (1 - whole / slow):.2f} % |",
                flush=True,
            )


def others(data: Path, corpora: list[str], every: int) -> None:
    columns: tuple[str, ...] = ("tokenizer", "corpus", "files", "same ids", "comes back", "notes")
    columns += ("encode: miditok", "ours", "", "decode: miditok", "ours", "", "ours, overlaps cut", "")
    print(f"| {' | '.join(columns)} |")
    print("| --- " * len(columns) + "|")
    for kind in TOKENIZERS:
        codec = Codec.from_config(TokenizerConfig(kind=kind))
        for corpus in corpora:
            paths = files_of(data, corpus)[::every]
            if corpus == "pop909":
                paths = [path for path in paths if path.name == "cl.mid"]
            rows, same, back = [], 0, 0
            for path in paths:
                score, _ = codec.prepare_score(Score(path))
                their_ids: list[Any] = []
                slow = cpu_times(lambda each, to=their_ids, by=codec: to.append(by.tokenizer(each)), [score])[0]
                ids = codec.encode(score)
                wanted = their_ids[0].ids if codec.compound is None else codec.compound.to_flat(their_ids[0].ids)
                same += np.array_equal(ids, wanted)
                decoded = codec.decode(ids, cut_overlaps=False)
                back += np.array_equal(codec.encode(decoded), ids)
                fast = min(cpu_times(codec.encode, [score] * 5))
                read = min(cpu_times(lambda each, by=codec: by.decode(each, cut_overlaps=False), [ids] * 5))
                cut = min(cpu_times(codec.decode, [ids] * 5))
                theirs = cpu_times(_stock_decode(codec, their_ids[0]), [None])[0]
                rows.append((score.note_num(), slow, fast, theirs, read, cut))
            notes, slow, fast, theirs, read, cut = np.median(np.array(rows), axis=0)
            print(
                f"| {kind} | {corpus} | {len(paths)} | {same} | {back} | {notes:.0f} | {slow:.0f} us | {fast:.0f} us | "
                f"**{slow / fast:.1f}x** | {theirs:.0f} us | {read:.0f} us | **{theirs / read:.1f}x** | {cut:.0f} us | "
                f"{theirs / cut:.1f}x |",
                flush=True,
            )


def _stock_decode(codec: Codec, sequence: Any) -> Callable[[Any], object]:
    """miditok's own decoding of a sequence without the numbers of tracks, which it cannot read."""

    def plain(token: Any) -> Any:
        if isinstance(token, list):
            return [plain(each) for each in token]
        return token.partition(".")[0] if token.startswith("Program") else token

    tokens = miditok.TokSequence(tokens=plain(sequence.tokens))
    return lambda _: codec.tokenizer._tokens_to_score(tokens)


def tokens(data: Path, corpora: list[str], every: int) -> None:
    print(f"| corpus | {' | '.join(TOKENIZERS)} |")
    print("| --- |" + " --- |" * len(TOKENIZERS))
    codecs = [Codec.from_config(TokenizerConfig(kind=kind)) for kind in TOKENIZERS]
    for corpus in corpora:
        counts, notes = np.zeros(len(codecs)), 0
        for path in files_of(data, corpus)[::every]:
            score = Score(path)
            notes += score.note_num()
            counts += [len(codec.encode(codec.prepare_score(score)[0])) for codec in codecs]
        print(f"| {corpus} | {' | '.join(f'{count / notes:.2f}' for count in counts)} |", flush=True)


def merges(data: Path, corpora: list[str]) -> None:
    print("| corpus | tokenizer | vocabulary | learned in | base tokens per note | merged | merging a piece |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for corpus in corpora:
        scores = [Score(path) for path in files_of(data, corpus)[::4]]
        notes = sum(score.note_num() for score in scores)
        for kind in ("remi", "tsd"):
            codec = Codec.from_config(TokenizerConfig(kind=kind))
            pieces = [codec.encode(codec.prepare_score(score)[0]) for score in scores]
            for size in (2000, 5000):
                started = time.perf_counter()
                found = Merges.learn(pieces, codec.vocabulary, size)
                seconds = time.perf_counter() - started
                merged = sum(len(found.merge(piece)[0]) for piece in pieces)
                took = np.median(cpu_times(found.merge, pieces))
                base = sum(map(len, pieces))
                print(
                    f"| {corpus} | {kind} | {found.size} | {seconds:.1f} s | {base / notes:.2f} | {merged / notes:.2f} "
                    f"| {took:.0f} us |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["parity", "speed", "load", "others", "tokens", "merges"])
    parser.add_argument("corpora", nargs="*", help=f"default: {' '.join(CORPORA)}")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="parity: take every N-th file")
    arguments = parser.parse_intermixed_args()
    corpora = arguments.corpora or list(CORPORA)
    if arguments.what == "parity":
        parity(arguments.data, corpora, arguments.every)
    elif arguments.what == "speed":
        speed(arguments.data, corpora)
    elif arguments.what == "others":
        others(arguments.data, corpora, arguments.every)
    elif arguments.what == "tokens":
        tokens(arguments.data, corpora, arguments.every)
    elif arguments.what == "merges":
        merges(arguments.data, corpora)
    else:
        load(arguments.data, corpora)


if __name__ == "__main__":
    main()
