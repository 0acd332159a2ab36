"""A corpus is prepared once, whatever lies in it, and a bad file costs itself only."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import corpora_of, make_music, misbehave, tune
from symusic import Score

from aurl.data import building
from aurl.data import prepare as preparing
from aurl.data.codec import Codec
from aurl.data.config import DataConfig, Source, TokenizerConfig
from aurl.data.crew import Failure
from aurl.data.encoding import Encoded, from_entry
from aurl.data.index import Index
from aurl.data.plan import Plan
from aurl.data.prepare import prepare
from aurl.data.preprocessing import PreprocessConfig
from aurl.data.sources import Piece
from aurl.data.workers import Job, Made, Recipe, make_piece, make_pieces
from aurl.music.dynamics import Velocity
from aurl.music.limits import ReadLimits
from aurl.music.score import Reading
from aurl.utils.errors import AurlError
from aurl.utils.locks import try_lock

TOKENIZER = TokenizerConfig()
HUNG_SECONDS = 1.0


def test_what_is_prepared_decodes_to_the_music_that_was_read(tmp_path: Path):
    data = make_music(tmp_path / "music", 3)
    store = prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    codec = Codec.from_dict(store.tokenizer)
    assert [piece.id for piece in store.pieces] == ["sub/tune01.mid", "tune00.mid", "tune02.mid"]
    ids = store.ids(1)
    assert (ids[0], ids[-1]) == (codec.vocabulary.bos, codec.vocabulary.eos)
    score = codec.decode(ids)
    assert [note.pitch for note in score.tracks[0].notes] == [note.pitch for note in tune(0).tracks[0].notes]
    bars, beats = codec.vocabulary.musical_time(ids)
    assert store.bars(1).tolist() == bars.tolist()
    assert store.beats(1).tolist() == beats.tolist()
    record = store.pieces[1]
    pitches = [note.pitch for note in tune(0).tracks[0].notes]
    assert (record.notes, record.beats, record.tokens, record.tracks) == (24, 12.0, len(ids), 1)
    assert (record.pitch_low, record.pitch_high) == (min(pitches), max(pitches))


def test_the_second_time_nothing_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = make_music(tmp_path / "music", 2)
    first = prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    monkeypatch.setattr(preparing, "make_pieces", lambda *_: pytest.fail("read again"))
    settings = replace(data, segment_overlap=0.5, batch_tokens=128, workers=2)
    assert prepare(settings, TOKENIZER, tmp_path / "cache", progress=False).folder == first.folder


def test_changed_files_settings_and_damage_are_noticed(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 3), tmp_path / "cache"
    first = prepare(data, TOKENIZER, cache, progress=False)
    tune(9).dump_midi(tmp_path / "music" / "new.mid")
    assert len(prepare(data, TOKENIZER, cache, progress=False)) == 4
    other = prepare(data, replace(TOKENIZER, velocities=8), cache, progress=False)
    assert other.tokenizer != first.tokenizer
    (other.folder / "tokens.bin").write_bytes(b"")
    assert len(prepare(data, replace(TOKENIZER, velocities=8), cache, progress=False).ids(0)) > 3
    assert not list(cache.glob(".*")) and not list(cache.glob("pieces/*.open"))


def test_unreadable_files_are_listed_with_reasons_and_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    data = make_music(tmp_path / "music", 3)
    (tmp_path / "music" / "torn.mid").write_bytes(b"MThd")
    (tmp_path / "music" / "gone.mid").symlink_to(tmp_path / "nowhere")
    with caplog.at_level(logging.INFO, logger="aurl"):
        logging.getLogger("aurl").addHandler(caplog.handler)
        store = prepare(data, TOKENIZER, tmp_path / "cache", progress=True)
        logging.getLogger("aurl").removeHandler(caplog.handler)
    assert [row["id"] for row in store.skipped] == ["gone.mid", "torn.mid"]
    assert [row["reason"] for row in store.skipped] == ["No such file or directory", "the header is cut off"]
    warnings = {record.getMessage() for record in caplog.records if record.levelno == logging.WARNING}
    assert warnings == {f"2 of 5 pieces could not be read; reasons in {store.folder / 'skipped.jsonl'}"}


def test_a_damaged_file_is_trained_on_and_listed_as_repaired(tmp_path: Path):
    data = make_music(tmp_path / "music", 2)
    whole = (tmp_path / "music" / "tune00.mid").read_bytes()
    (tmp_path / "music" / "wrapped.mid").write_bytes(b"garbage" + whole)
    store = prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    assert [piece.id for piece in store.pieces if piece.id == "wrapped.mid"] and not store.skipped
    (row,) = [json.loads(line) for line in (store.folder / "repaired.jsonl").read_text().splitlines()]
    assert (row["id"], row["repairs"]) == ("wrapped.mid", {"bytes_before_header": 1})


def test_it_fails_when_nothing_can_be_read_and_leaves_nothing_behind(tmp_path: Path):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "torn.mid").write_bytes(b"MThd")
    data = DataConfig(name="torn", source=Source.folder, path=str(tmp_path / "music"), workers=1)
    with pytest.raises(AurlError, match=r"data=torn: none of 1 pieces could be read; the first, torn.mid: the header"):
        prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    assert not corpora_of(tmp_path / "cache") and not list((tmp_path / "cache").glob(".*"))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(AurlError, match=r"cannot be written .*; set paths.cache"):
        prepare(make_music(tmp_path / "music", 1), TOKENIZER, tmp_path / "file" / "cache", progress=False)


def test_copies_of_a_piece_are_never_in_two_splits(tmp_path: Path):
    data = make_music(tmp_path / "music", 12)
    for seed in range(12):
        tune(seed).shift_pitch(2).dump_midi(tmp_path / "music" / f"copy{seed:02}.mid")
    store = prepare(replace(data, valid_share=0.3, test_share=0.3), TOKENIZER, tmp_path / "cache", progress=False)
    splits = {piece.id.rpartition("/")[2]: piece.split for piece in store.pieces}
    assert set(splits.values()) == {"train", "valid", "test"}
    assert all(splits[f"copy{seed:02}.mid"] == splits[f"tune{seed:02}.mid"] for seed in range(12))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_reader_that_crashes_hangs_or_fails_costs_one_piece():
    names = ["a", "crash", "bb", "hang", "ccc", "bug", "dddd", "crash"]
    jobs = [Job(n, Piece(id=name, split=None, path="", loader="test")) for n, name in enumerate(names)]
    results = dict(make_pieces(jobs, Recipe(TOKENIZER), workers=2, seconds=HUNG_SECONDS, load=misbehave))
    assert sorted(results) == list(range(len(names)))
    reasons = {names[i]: result.reason for i, result in results.items() if isinstance(result, Failure)}
    assert reasons == {
        "crash": "the reader crashed on it (SIGSEGV)",
        "hang": "reading it took longer than 1 s",
        "bug": "unexpected KeyError: 'surprise'",
    }
    made = [result for result in results.values() if isinstance(result, Made) and result.encoded]
    assert [isinstance(from_entry(result.encoded), Encoded) for result in made] == [True] * 4


@pytest.mark.parametrize("always", [False, True])
def test_a_piece_that_was_lost_by_the_machine_gets_a_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always: bool
):
    rounds: list[int] = []

    def starved(jobs: Iterable[Job], recipe: Recipe, workers: int) -> Iterator[tuple[int, Made | Failure]]:
        """As if memory ran out for the first piece of every round, or of the first."""
        rounds.append(0)
        for order, result in make_pieces(jobs, recipe, workers):
            rounds[-1] += 1
            yield order, Failure("killed") if order == 0 and (always or len(rounds) == 1) else result

    monkeypatch.setattr(preparing, "make_pieces", starved)
    store = prepare(make_music(tmp_path / "music", 4), TOKENIZER, tmp_path / "cache", progress=False)
    assert rounds == [4, 1] and len(store) == (3 if always else 4)
    assert [row["reason"] for row in store.skipped] == ["killed"] * always


def test_a_folder_in_which_somebody_builds_stays_however_old_it_is_and_one_left_behind_goes_at_once(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 2), tmp_path / "cache"
    locks = cache / building.LOCKS_FOLDER
    locks.mkdir(parents=True)
    long_ago = time.time() - 10 * building.STALE_SECONDS
    running, left = (cache / f".{name}{building.BUILDING}abc" for name in ("running-01", "left-02"))
    running.mkdir()
    left.mkdir()
    os.utime(running, (long_ago, long_ago))
    with (locks / "running-01.lock").open("ab") as file:
        assert try_lock(file, exclusive=True)
        prepare(data, TOKENIZER, cache, progress=False)
        assert running.is_dir() and not left.exists()
    prepare(data, TokenizerConfig(velocities=4), cache, progress=False)
    assert not running.exists(), "its process is gone"


def test_without_locks_only_an_old_folder_counts_as_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / building.LOCKS_FOLDER).mkdir()
    folder = tmp_path / f".some-01{building.BUILDING}abc"
    folder.mkdir()
    monkeypatch.setattr(building, "try_lock", lambda *_, **__: False)
    monkeypatch.setattr(building, "is_held", lambda _: False)
    for own in ("own-02", "some-01"):
        assert not building._is_left_behind(folder, tmp_path / own), "another process may build in it"
    long_ago = time.time() - 2 * building.STALE_SECONDS
    os.utime(folder, (long_ago, long_ago))
    assert building._is_left_behind(folder, tmp_path / "own-02")
    monkeypatch.setattr(building, "is_held", lambda _: True)
    assert not building._is_left_behind(folder, tmp_path / "own-02")
    assert building._is_left_behind(folder, tmp_path / "some-01"), "this process holds the lock"
    monkeypatch.setattr(building, "is_held", lambda _: False)
    monkeypatch.setattr(building, "try_lock", lambda *_, **__: True)
    monkeypatch.setattr(building, "has_locks", lambda: False)
    os.utime(folder)
    assert not building._is_left_behind(folder, tmp_path / "own-02"), "a lock that was not taken tells nothing"


def test_a_corpus_may_be_prepared_twice_at_once(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 4), tmp_path / "cache"
    with ThreadPoolExecutor(3) as threads:
        jobs = [threads.submit(prepare, data, TOKENIZER, cache, progress=False) for _ in range(3)]
        stores = [job.result(timeout=120) for job in jobs]
    assert len({store.folder for store in stores}) == 1
    assert [len(store) for store in stores] == [4, 4, 4]
    assert corpora_of(cache) == [stores[0].folder]


def test_a_real_archive_keeps_its_split_and_its_notes(tmp_path: Path, corpora: Callable[[str], Path]):
    root = corpora("jsb-chorales")
    data = DataConfig(name="jsb", source=Source.archive, path=str(root))
    store = prepare(data, TOKENIZER, tmp_path, progress=False)
    assert [len(store.split(name)) for name in ("train", "valid", "test")] == [229, 76, 39]
    assert not store.skipped
    assert all(piece.notes == piece.metadata["notes"] for piece in store.pieces)
    one = store.pieces[5]
    pitches = sorted(note.pitch for track in Score(one.path).tracks for note in track.notes)
    decoded = Codec.from_dict(store.tokenizer).decode(store.ids(5))
    assert sorted(note.pitch for track in decoded.tracks for note in track.notes) == pitches


def test_a_script_without_a_main_guard_can_prepare_a_corpus(tmp_path: Path):
    make_music(tmp_path / "music", 2)
    script = (
        "from pathlib import Path\n"
        "from aurl.data.config import DataConfig, Source, TokenizerConfig\n"
        "from aurl.data.prepare import prepare\n"
        f"data = DataConfig(source=Source.folder, path={str(tmp_path / 'music')!r}, workers=1)\n"
        f"print(len(prepare(data, TokenizerConfig(), Path({str(tmp_path / 'cache')!r}), progress=False)))\n"
    )
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


def read_nothing(piece: Piece, limits: ReadLimits) -> Reading:
    """A reader that must not be called."""
    raise KeyError(f"{piece.id} was read again")


def test_a_score_that_was_read_is_encoded_without_its_file(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 1), tmp_path / "cache"
    store = prepare(data, TOKENIZER, cache, progress=False)
    recipe = Recipe(replace(TOKENIZER, velocities=8), cache=cache)
    with Index(cache) as index, Plan(data, recipe, index) as plan:
        (planned,) = plan
        place = index.find(planned.read)
    assert place is not None
    codec = Codec.from_config(recipe.tokenizer)
    made = make_piece(Job(0, planned.piece, planned.content, place), recipe, codec, load=read_nothing)
    assert made.read is None and made.encoded is not None
    encoded = from_entry(made.encoded)
    assert isinstance(encoded, Encoded) and encoded.notes == store.pieces[0].notes
    with pytest.raises(KeyError, match="was read again"):
        make_piece(Job(0, planned.piece, planned.content, None), recipe, codec, load=read_nothing)


def test_a_file_that_changes_while_it_is_read_is_not_kept_under_the_old_address(tmp_path: Path):
    data = make_music(tmp_path / "music", 1)
    recipe = Recipe(TOKENIZER)
    with Plan(data, recipe, None) as plan:
        (planned,) = plan
    tune(5).dump_midi(Path(planned.piece.path))
    made = make_piece(Job(0, planned.piece, planned.content), recipe, Codec.from_config(TOKENIZER))
    assert (made.read, made.encoded, made.failure) == (None, None, "the file changed while it was read")


def test_names_that_look_the_same_stay_apart(tmp_path: Path):
    (tmp_path / "music").mkdir()
    for seed, name in enumerate((b"caf\xe9.mid", b"caf\xe8.mid")):
        with open(os.path.join(os.fsencode(tmp_path / "music"), name), "wb") as file:
            tune(seed).dump_midi(tmp_path / "t.mid")
            file.write((tmp_path / "t.mid").read_bytes())
    data = DataConfig(name="names", source=Source.folder, path=str(tmp_path / "music"), workers=1)
    store = prepare(data, TOKENIZER, tmp_path / "cache", progress=False)
    assert [piece.id for piece in store.pieces] == ["caf\ufffd.mid", "caf\ufffd.mid~2"]
    assert all(Path(piece.path).exists() for piece in store.pieces)


def test_pieces_are_chosen_when_a_corpus_is_opened_and_nothing_is_made_again(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 4), tmp_path / "cache"
    (tmp_path / "music" / "tune00.json").write_text('{"composer": "Bach", "meter": "3/4", "split": "train"}')
    whole = prepare(data, TOKENIZER, cache, progress=False)
    some = prepare(replace(data, where="composer == 'Bach' and meter == '3/4'"), TOKENIZER, cache, progress=False)
    assert some.folder == whole.folder and len(some) == len(whole) == 4
    assert some.split(None) == some.split("train") == [2] and some.pieces[2].metadata["composer"] == "Bach"
    with pytest.raises(AurlError, match="holds for none of 4 pieces"):
        prepare(replace(data, where="composer == 'Haydn'"), TOKENIZER, cache, progress=False)
    with pytest.raises(AurlError, match="equality is written =="):
        prepare(replace(data, where="composer = 'Haydn'"), TOKENIZER, tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists(), "a form that cannot be read is told before anything is prepared"


def test_what_preprocessing_measured_stands_in_the_manifest(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 2), tmp_path / "cache"
    store = prepare(data, TOKENIZER, cache, progress=False, preprocess=PreprocessConfig(velocity=Velocity.normalise))
    plain = prepare(data, TOKENIZER, cache, progress=False)
    assert store.folder != plain.folder
    assert set(plain.pieces[0].facts) < set(store.pieces[0].facts)
    assert store.pieces[0].facts["off_grid_share"] == 0.0


def test_limits_of_the_reader_are_settings(tmp_path: Path):
    data, cache = make_music(tmp_path / "music", 2), tmp_path / "cache"
    tune(3, notes=500).dump_midi(tmp_path / "music" / "long.mid")
    store = prepare(replace(data, limits=ReadLimits(events=600)), TOKENIZER, cache, progress=False)
    (row,) = store.skipped
    assert row["id"] == "long.mid" and row["reason"].endswith("allowed: 600 (limit: events)")
    assert len(prepare(data, TOKENIZER, cache, progress=False)) == 3
