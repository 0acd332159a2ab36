"""``aurl-latent`` with a tiny untrained checkpoint: every verb writes its files; wrong command lines get one line."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from symusic import Note, Score, Track

from aurl.cli import app, latent
from aurl.cli.latent_command import LATENT_TASKS, read_bars
from aurl.data.codec import Codec
from aurl.data.config import TokenizerConfig
from aurl.data.merges import Merges
from aurl.models.checkpoint import save_bundle
from aurl.models.config import Mode, ModelConfig
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN

MIDI = "formats=midi"


def write_song(path: Path, bars: int, seed: int, rests: bool = False) -> None:
    """Random notes on every beat; with ``rests`` one in three is silent, but for the first of a bar."""
    generator = np.random.default_rng(seed)
    score = Score(480)
    track = Track(program=0)
    for beat in range(4 * bars):
        if rests and beat % 4 and generator.random() < 1 / 3:
            continue
        track.notes.append(Note(480 * beat, 480, int(generator.integers(48, 84)), 80))
    score.tracks.append(track)
    score.dump_midi(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained checkpoint and two songs."""
    folder = tmp_path_factory.mktemp("latent")
    codec = Codec.from_config(TokenizerConfig(positions_per_beat=4, velocities=2, tempos=4))
    size = {"hidden_dim": 16, "heads": 2, "layers": 1, "context": 256, "hearing": False}
    for name, more in (("vae", {"mode": Mode.vae, "latent_dim": 4, "attributes": ["density"]}), ("plain", {})):
        save_untrained(folder / f"{name}.ckpt", codec, ModelConfig(**size, **more))  # type: ignore[arg-type]
    (folder / "songs").mkdir()
    write_song(folder / "songs" / "a song (1).mid", 4, 0)
    write_song(folder / "songs" / "b.mid", 3, 1)
    pieces = [codec.encode(codec.prepare_score(Score(file))[0]) for file in (folder / "songs").iterdir()]
    learned = codec.with_merges(Merges.learn(pieces, codec.vocabulary, codec.vocabulary.size + 10))
    config = ModelConfig(**size, mode=Mode.vae, latent_dim=4, attributes=["density"])  # type: ignore[arg-type]
    save_untrained(folder / "learned.ckpt", learned, config)
    return folder


def save_untrained(path: Path, codec: Codec, config: ModelConfig) -> None:
    """A checkpoint of a model with large random weights, so that it is sure of what it writes."""
    torch.manual_seed(0)
    model = MusicTransformerVAEGAN(config, codec.size)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(8.0)
    save_bundle(path, model, codec.to_dict(), {}, {"programs": [0]})


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def run(*arguments: str, ckpt: str = "vae.ckpt") -> int:
    words = latent.with_task(arguments)
    return app.execute("latent", latent.latent, [*words, f"ckpt={ckpt}", "device=cpu"])


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


FIRST, SECOND = "songs/a song (1).mid", "songs/b.mid"


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (
            ["reconstruct", FIRST, SECOND],
            {"a_song_1_original.mid", "a_song_1_again.mid", "b_original.mid", "b_again.mid"},
        ),
        (["encode", "songs"], {"a_song_1.mid", "a_song_1.npz", "b.mid", "b.npz"}),
        (["interpolate", FIRST, SECOND, "steps=3"], {f"step_0{n}.mid" for n in (1, 2, 3)}),
        (["slide", SECOND, "sliders=[density:+1.5,z2:-1]", "bars=2-3"], {"b_again.mid", "b_moved.mid"}),
        (["traverse", SECOND, "dimensions=density", "values=[-1,1]"], {"density_01.mid", "density_02.mid"}),
        (
            ["replace", FIRST, "bars=1,3", "versions=2"],
            {"original.mid", *(f"version_0{n}.{end}" for n in (1, 2) for end in ("mid", "npz"))},
        ),
        (
            ["replace", FIRST, "bars=2", f"donor={SECOND}", "donor_bars=3"],
            {"original.mid", "version_01.mid", "version_01.npz"},
        ),
        (["replace", FIRST, "bars=2", "sliders=z3:2"], {"original.mid", "version_01.mid", "version_01.npz"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_every_verb_writes_its_music(words: list[str], files: set[str], tmp_path: Path, capsys):
    assert run(*words, MIDI, f"output={tmp_path}") == 0
    assert names(tmp_path) == files
    for file in tmp_path.glob("*.mid"):
        assert Score(file).note_num() > 0
    assert f"Written: {len(files)} file{'s' * (len(files) > 1)} (" in capsys.readouterr().out


def test_one_line_says_how_near_the_music_is_and_what_else_is_written_again(tmp_path: Path, capsys):
    assert run("reconstruct", SECOND, MIDI, f"output={tmp_path / 'again'}") == 0
    assert re.search(r"b: \d+\.\d % of its tokens stand at their place again", capsys.readouterr().err)
    assert run("slide", SECOND, "sliders=[density:+1]", "bars=2", MIDI, f"output={tmp_path / 'some'}") == 0
    told = capsys.readouterr().err
    assert re.search(
        r"b: written from its latents alone, which bring back \d+\.\d % of its tokens; bars after 2 go on", told
    )
    assert run("slide", SECOND, "sliders=[density:+1]", MIDI, f"output={tmp_path / 'all'}") == 0
    assert "bars after" not in capsys.readouterr().err


def test_all_formats_make_sound_pictures_and_one_page_that_needs_nothing(tmp_path: Path, capsys):
    assert run("reconstruct", SECOND, "bars_read=2", f"output={tmp_path}") == 0
    suffixes = {"mid", "wav", "png"}
    expected = {f"b_{which}.{suffix}" for which in ("original", "again") for suffix in suffixes}
    assert names(tmp_path) == {*expected, "attributes.png", "index.html"}
    assert (tmp_path / "attributes.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 2 and "data:image/png;base64," in page and "tokens at their place" in page
    assert 'src="http' not in page and "b, from its latents" in page
    assert "Look and listen:" in capsys.readouterr().out


def test_a_map_is_a_picture_of_all_bars(tmp_path: Path):
    assert run("map", "songs", "formats=png,html", f"output={tmp_path}") == 0
    assert names(tmp_path) == {"map.png", "index.html"}


def test_a_checkpoint_with_learned_tokens_writes_bars_anew(tmp_path: Path):
    assert run("replace", FIRST, "bars=1,3", MIDI, f"output={tmp_path}", ckpt="learned.ckpt") == 0
    assert names(tmp_path) == {"original.mid", "version_01.mid", "version_01.npz"}


@pytest.mark.parametrize("ckpt", ["vae.ckpt", "learned.ckpt"])
def test_latents_of_a_file_are_decoded_as_they_were_encoded(ckpt: str, tmp_path: Path):
    assert run("encode", FIRST, MIDI, f"output={tmp_path / 'latents'}", ckpt=ckpt) == 0
    latents = str(tmp_path / "latents" / "a_song_1.npz")
    assert run("decode", str(tmp_path / "latents"), MIDI, f"output={tmp_path / 'music'}", ckpt=ckpt) == 0
    assert run("reconstruct", FIRST, MIDI, f"output={tmp_path / 'again'}", ckpt=ckpt) == 0
    one, other = tmp_path / "music" / "a_song_1.mid", tmp_path / "again" / "a_song_1_again.mid"
    assert one.read_bytes() == other.read_bytes()
    assert run("reconstruct", latents, MIDI, "bars_read=2", f"output={tmp_path / 'short'}", ckpt=ckpt) == 0
    for name in ("a_song_1_original.mid", "a_song_1_again.mid"):
        short, whole = Score(tmp_path / "short" / name), Score(tmp_path / "again" / name)
        assert 0 < short.note_num() < whole.note_num() and short.end() < whole.end()


def test_nothing_is_written_over_unless_it_is_allowed(tmp_path: Path, capsys):
    words = ["reconstruct", SECOND, "bars_read=1", MIDI, f"output={tmp_path}"]
    assert run(*words) == 0
    assert run(*words) == 1
    assert "already there; choose another folder or allow it with overwrite=true" in capsys.readouterr().err
    assert run(*words, "overwrite=true") == 0


def test_a_file_that_cannot_be_read_is_left_out_of_several_and_refused_alone(tmp_path: Path, capsys):
    (tmp_path / "music").mkdir()
    write_song(tmp_path / "music" / "good.mid", 3, 2)
    (tmp_path / "music" / "bad.mid").write_bytes(b"MThd")
    assert run("map", str(tmp_path / "music"), "formats=png", f"output={tmp_path / 'new'}") == 0
    assert "1 of 2 files left out" in capsys.readouterr().err
    assert run("interpolate", str(tmp_path / "music"), MIDI, f"output={tmp_path / 'other'}") == 1
    error = capsys.readouterr().err
    assert f"error: {tmp_path / 'music' / 'bad.mid'}: " in error and "pieces, got" not in error
    assert run("map", str(tmp_path / "music" / "bad.mid"), f"output={tmp_path / 'third'}") == 1
    (tmp_path / "music" / "good.mid").write_bytes(b"MThd")
    assert run("map", str(tmp_path / "music"), f"output={tmp_path / 'fourth'}") == 1
    assert "none of 2 files can be read" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run("map", FIRST, f"output={tmp_path / 'file'}") == 1
    assert "is a file; give a folder" in capsys.readouterr().err


def test_routes_are_written_beside_the_checkpoint_and_followed_from_then_on(home: Path, tmp_path: Path, capsys):
    for name in ("vae", "learned"):
        shutil.copy(home / f"{name}.ckpt", tmp_path)
    write_song(tmp_path / "long.mid", 110, 5, rests=True)
    ckpt, routes = str(tmp_path / "vae.ckpt"), tmp_path / "vae.routes.npz"
    assert run("routes", str(tmp_path / "long.mid"), ckpt=ckpt) == 0 and routes.is_file()
    assert run("routes", str(tmp_path / "long.mid"), ckpt=ckpt) == 1
    assert "already there" in capsys.readouterr().err
    assert run("routes", str(tmp_path / "long.mid"), f"output={tmp_path}", ckpt=ckpt) == 1
    assert "is a folder; give a file" in capsys.readouterr().err
    slide = ("slide", SECOND, "sliders=[density:+1.5]", MIDI)
    assert run(*slide, f"output={tmp_path / 'along'}", ckpt=ckpt) == 0
    assert f"sliders follow {routes}" in capsys.readouterr().err
    assert run(*slide, f"output={tmp_path / 'alone'}", "routes=none", ckpt=ckpt) == 0
    assert "sliders follow" not in capsys.readouterr().err
    assert run(*slide, f"output={tmp_path / 'wrong'}", "routes=nowhere.npz", ckpt=ckpt) == 1
    assert "routes=nowhere.npz does not exist; allowed: auto, none, or a file" in capsys.readouterr().err
    assert run(*slide, f"output={tmp_path / 'heard'}", "tries=4", "bars=2", ckpt=ckpt) == 0
    assert names(tmp_path / "heard") == {"b_again.mid", "b_moved.mid"}
    assert re.search(r"bar 2: density [\d.]+, wished [\d.]+, first try [\d.]+", capsys.readouterr().err)
    again = ("replace", SECOND, "sliders=[density:+1.5]", "bars=2", "tries=4", MIDI)
    assert run(*again, f"output={tmp_path / 'anew'}", ckpt=ckpt) == 0
    assert names(tmp_path / "anew") == {"original.mid", "version_01.mid", "version_01.npz"}
    assert run(*again, f"output={tmp_path / 'wrong'}", "routes=none", ckpt=ckpt) == 1
    assert "tries=4 needs routes" in capsys.readouterr().err
    still = "reconstruct", str(tmp_path / "long.mid")
    assert run(*still, f"output={tmp_path / 'still'}", "routes=nowhere.npz", ckpt=ckpt) == 1
    assert "routes=nowhere.npz would do nothing" in capsys.readouterr().err
    assert run(*slide, f"output={tmp_path / 'wrong'}", f"routes={routes}", ckpt=str(tmp_path / "learned.ckpt")) == 1
    assert "are of another checkpoint" in capsys.readouterr().err
    routes.write_bytes(b"of an earlier state of the checkpoint")
    assert run(*still, f"output={tmp_path / 'still'}", ckpt=ckpt) == 0
    assert run(*slide, f"output={tmp_path / 'wrong'}", ckpt=ckpt) == 1
    assert "is no file of `aurl-latent routes`; make it with" in capsys.readouterr().err


@pytest.mark.parametrize("amount", ["nan", "inf", "20", "-5.1"])
def test_a_slider_far_beyond_real_music_is_refused(home: Path, amount: str, capsys):
    assert run("slide", SECOND, f"sliders=[density:{amount}]", MIDI) == 1
    assert f"sliders=density:{amount} is out of range; allowed: -5 to 5" in capsys.readouterr().err


def test_without_a_folder_results_get_numbered_ones(home: Path):
    for _ in range(2):
        assert run("reconstruct", SECOND, "bars_read=1", MIDI) == 0
    assert {"vae_reconstruct_1", "vae_reconstruct_2"} <= names(home / "generated")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["reconstrukt", SECOND], "there is no verb 'reconstrukt'; did you mean reconstruct?; allowed: encode"),
        (["reconstruct"], "reconstruct needs music: aurl-latent reconstruct FILE ..."),
        (["reconstruct", "songs/c.mid"], "songs/c.mid does not exist; did you mean b.mid?; give a score"),
        (["interpolate", FIRST], "interpolate takes 2 pieces, got 1; name 2 pieces"),
        (["replace", FIRST], "replace needs bars, for instance bars=5,6"),
        (["replace", FIRST, "bars=9"], "bars=9: a song (1) has bars 1 to 4"),
        (["replace", FIRST, "bars=1,2", f"donor={SECOND}", "donor_bars=1"], "donor_bars names 1 bars for 2 of bars"),
        (["replace", FIRST, "bars=1", f"donor={SECOND}", "donor_bars=9"], "donor_bars=9: b has bars 1 to 3"),
        (["slide", FIRST], "slide needs sliders, for instance sliders=[density:+1.5]"),
        (["slide", FIRST, "sliders=density"], "sliders=density is not dimension:amount"),
        (["slide", FIRST, "sliders=range:1"], "no dimension 'range'; allowed: density, z2 to z4"),
        (["traverse", FIRST, "dimensions=[z22]"], "no dimension 'z22'; did you mean z2?; allowed: density, z2 to z4"),
        (["slide", FIRST, "sliders=density:1", "bars=0"], "bars=0 is no bar; allowed: numbers from 1"),
        (["slide", FIRST, "sliders=density:1", "bars=4-2"], "bars=4-2 is no bar"),
        (["interpolate", FIRST, SECOND, "steps=1"], "steps=1 is out of range"),
        (["traverse", FIRST, "values=[]"], "values=[] names none"),
        (["traverse", FIRST, "values=[0,5.5]"], "values=5.5 is out of range; allowed: -5 to 5 standard deviations"),
        (["traverse", FIRST, "values=[nan]"], "values=nan is out of range"),
        (["routes", FIRST], "4 bars are too few for routes; give 100 or more, best all of training"),
        (["map", FIRST, "bars_read=2"], "a map needs 3 bars or more, these pieces have 2"),
        (["encode", FIRST, "formats=mp4"], "formats=mp4: allowed are one or more of midi, wav, png, html"),
    ],
)
def test_a_wrong_command_line_gets_one_line(words: list[str], line: str, capsys, tmp_path: Path):
    assert run(*words, f"output={tmp_path / 'new'}") == 1
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert error.startswith("error: ") and line in error
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_without_latents_is_refused(capsys):
    words = latent.with_task(["reconstruct", SECOND])
    assert app.execute("latent", latent.latent, [*words, "ckpt=plain.ckpt", "device=cpu"]) == 1
    error = capsys.readouterr().err
    assert "plain.ckpt: this checkpoint has no latents" in error


def test_the_command_line_is_read_as_verb_and_files(home: Path):
    assert latent.with_task(["map", "~/it's [1].mid", "steps=3"]) == [
        "task=map",
        f"music=['{Path.home()}/it\\'s [1].mid']",
        "steps=3",
    ]
    assert latent.with_task(["task=map", "music=x.mid"]) == ["task=map", "music=x.mid"]
    assert read_bars("bars", ["5-7", "2", "6"]) == [2, 5, 6, 7]
    with pytest.raises(ValueError, match="bars=5-x is no bar"):
        read_bars("bars", ["5-x"])


def test_settings_are_checked_before_a_checkpoint_is_looked_for(capsys):
    for words, line in [
        (["slide", FIRST, "sliders=[density:9]"], "sliders=density:9 is out of range"),
        (["slide", FIRST], "slide needs sliders"),
        (["replace", FIRST, "bars=0"], "bars=0 is no bar"),
        (["replace", FIRST, "bars=1", "donor_bars=1"], "donor_bars=1 goes with donor=FILE"),
        (["slide", FIRST, "sliders=[density:1,density:2]"], "sliders names density twice; give each dimension one"),
        (
            ["replace", FIRST, "bars=1", "sliders=z3:1", "versions=2"],
            "versions=2 goes with latents that the prior draws",
        ),
        (["traverse", FIRST, "values=[-6]"], "values=-6 is out of range"),
        (["traverse", FIRST, "tries=2"], "tries=2 would do nothing: only slide, and replace with sliders"),
        (["replace", FIRST, "bars=1", "sliders=z3:1", f"donor={SECOND}", "tries=2"], "tries=2 would do nothing"),
        (["slide", FIRST, "sliders=z3:1", "tries=0"], "tries=0"),
        (
            ["slide", FIRST, "sliders=densty:1"],
            "sliders: there is no dimension 'densty'; did you mean density?; allowed",
        ),
        (["slide", FIRST, "sliders=loudness:1"], "no dimension 'loudness'; allowed: density, polyphony"),
        (["traverse", FIRST, "dimensions=[rang]"], "dimensions: there is no dimension 'rang'; did you mean range?"),
        (["encode", FIRST, "sliders=[density:1]"], "sliders does nothing with encode, only with slide and replace"),
        (["slide", FIRST, "sliders=z3:1", "versions=2"], "versions does nothing with slide, only with replace; leave"),
        (
            ["map", FIRST, MIDI],
            "formats=midi leaves nothing of map, which writes no music; allowed: one or more of png",
        ),
    ]:
        assert run(*words, ckpt="nowhere.ckpt") == 1
        assert line in capsys.readouterr().err


def test_files_are_looked_for_before_the_checkpoint_is_read(home: Path, capsys):
    (home / "broken.ckpt").write_bytes(b"no checkpoint")
    (home / "junk.mid").write_bytes(b"junk")
    slide = ["slide", FIRST, "sliders=[density:1]"]
    for words, line in [
        (["slide", "junk.mid", "sliders=[density:1]"], "junk.mid: "),
        (["interpolate", FIRST, "junk.mid"], "junk.mid: "),
        (["routes", "junk.mid"], "junk.mid: "),
        (["replace", FIRST, "bars=1", "donor=junk.mid"], "junk.mid: "),
        ([*slide, "routes=junk.mid"], "junk.mid is no file of `aurl-latent routes`"),
        ([*slide, "routes=junk.midi"], "routes=junk.midi does not exist; did you mean junk.mid?; allowed: auto, none"),
        ([*slide, "tries=4"], "tries=4 needs routes, which know what is heard where"),
        ([*slide, "tries=4", "routes=none"], "tries=4 needs routes, which know what is heard where"),
        (["slide", FIRST, "sliders=[density:1]", "routes=nowhere.npz"], "routes=nowhere.npz does not exist"),
        (["replace", FIRST, "bars=1", "donor=songs/c.mid"], "does not exist; did you mean b.mid?; give a score"),
        (["replace", FIRST, "bars=1", "donor=songs"], "songs is a folder; give a score or a file of latents"),
    ]:
        assert run(*words, ckpt="broken.ckpt") == 1
        assert line in capsys.readouterr().err


def test_files_of_one_name_and_what_had_to_change_in_them_can_be_told_apart(tmp_path: Path, capsys):
    for number, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()
        write_song(tmp_path / folder / "song.mid", 2, number)
    score = Score(tmp_path / "two" / "song.mid")
    score.tracks[0].program = 40
    score.dump_midi(tmp_path / "two" / "song.mid")
    songs = [str(tmp_path / folder / "song.mid") for folder in ("one", "two")]
    assert run("encode", *songs, MIDI, f"output={tmp_path / 'new'}") == 0
    shown = capsys.readouterr().err
    assert all(f"{song}: 2 bars" in shown for song in songs)
    assert f"{songs[1]}: program 40 becomes 0 (training met no such program)" in shown and "prompt" not in shown
    assert names(tmp_path / "new") == {f"{folder}_song.{end}" for folder in ("one", "two") for end in ("mid", "npz")}
    late = Score(480)
    late.tracks.append(Track(program=0, notes=[Note(480 * 40, 480, 60, 80)]))
    late.dump_midi(tmp_path / "late.mid")
    assert run("map", str(tmp_path / "late.mid"), "bars_read=2") == 1
    error = capsys.readouterr().err
    assert (
        f"{tmp_path / 'late.mid'}: there is no note in the first 2 bars; choose another file, or a higher bars_read"
        in (error)
    )


def test_a_folder_without_music_or_that_cannot_be_opened_is_called_that(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "empty").mkdir()
    assert run("map", str(tmp_path / "empty")) == 1
    assert f"{tmp_path / 'empty'} is a folder without music; give one with MIDI or notation" in capsys.readouterr().err
    (tmp_path / "empty" / "a.npz").touch()
    assert run("map", str(tmp_path / "empty")) == 1
    assert "is a folder without music; name its files of latents one by one" in capsys.readouterr().err
    shutil.copytree("songs", tmp_path / "songs")
    (tmp_path / "songs" / "locked").mkdir()
    scan = os.scandir

    def refusing(folder):
        if isinstance(folder, Path) and folder.name in locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr("aurl.data.folders.os.scandir", refusing)
    locked = {"songs"}
    assert run("map", str(tmp_path / "songs")) == 1
    assert f"{tmp_path / 'songs'} is a folder that cannot be opened (Permission denied)" in capsys.readouterr().err
    locked = {"locked"}
    assert run("map", str(tmp_path / "songs"), "formats=png", f"output={tmp_path / 'new'}") == 0
    assert f"{tmp_path / 'songs' / 'locked'} cannot be opened (Permission denied); what is in it is left out" in (
        capsys.readouterr().err
    )


def test_without_arguments_the_usage_is_shown(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["aurl-latent"])
    with pytest.raises(SystemExit) as leaving:
        latent.main()
    assert leaving.value.code == app.MISREAD
    shown = capsys.readouterr().err
    assert (
        shown.startswith("usage: aurl-latent VERB FILE ...") and "a verb is missing; allowed: encode, decode" in shown
    )


def test_help_names_every_verb(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["aurl-latent", "--help"])
    with pytest.raises(SystemExit) as leaving:
        latent.main()
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in LATENT_TASKS)
