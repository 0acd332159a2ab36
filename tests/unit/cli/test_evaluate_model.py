"""``aurl-evaluate ckpt=...`` with a tiny checkpoint: likelihood, samples, speed, the report, wrong command lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from symusic import Score

from aurl.cli import app, conf, evaluate, stage
from aurl.data.codec import Codec
from aurl.data.kinds import Kind
from aurl.models.checkpoint import load_bundle, save_bundle
from aurl.models.hearing import TokenMeaning
from aurl.models.music_transformer_vae_gan import MusicTransformerVAEGAN
from aurl.utils.errors import AurlError

SETTINGS = [
    *("data=synth", "data.pieces=24", "data.test_share=0.25", "data.workers=1", "data.batch_tokens=256"),
    *("model.hidden_dim=16", "model.heads=2", "model.layers=1", "model.context=128", "augment=none"),
    *("tokenizer.positions_per_beat=4", "tokenizer.velocities=2", "tokenizer.tempos=4", "paths.output=here"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained checkpoint of a made-up corpus."""
    folder = tmp_path_factory.mktemp("evaluate")
    cfg = conf.compose("train", SETTINGS)
    codec = Codec.from_config(conf.to_config(cfg.tokenizer))
    torch.manual_seed(0)
    meaning = TokenMeaning.of(codec.vocabulary.meaning())
    model = MusicTransformerVAEGAN(conf.to_config(cfg.model), codec.vocabulary.size, meaning)
    config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    save_bundle(folder / "tiny.ckpt", model, codec.to_dict(), config, {"programs": [0, 32]})  # type: ignore[arg-type]
    return folder


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("AURL_CACHE", str(home / "cache"))


def run(*arguments: str) -> int:
    return app.execute("evaluate", evaluate.evaluate, ["ckpt=tiny.ckpt", "device=cpu", *arguments])


def test_likelihood_keeps_its_keys_and_adds_tables(home: Path, capsys) -> None:
    assert run("json=l.json") == 0
    output = capsys.readouterr().out
    assert "synth, test, under tiny.ckpt" in output and "nats per second" in output and "kind of token" in output
    found = json.loads((home / "l.json").read_text())
    assert {
        "nats_per_note",
        "nats_per_beat",
        "notes",
        "beats",
        "tokens",
        "pieces",
        "token_perplexity",
        "skipped",
    } <= set(found)
    assert found["bound"] is False and found["pieces"] >= 2 and found["skipped"] == 0
    assert sum(row["nats_per_note"] for row in found["by_type"]) == pytest.approx(found["nats_per_note"], rel=1e-5)
    assert sum(row["nats"] for row in found["piece_rows"]) == pytest.approx(
        found["nats_per_second"] * found["seconds"], rel=1e-5
    )
    assert len(found["piece_rows"]) == found["pieces"] and found["by_token_index"]


def test_pieces_with_programs_that_training_never_met_are_counted_and_named(home: Path, capsys) -> None:
    bundle = load_bundle(home / "tiny.ckpt")
    errors, found = [], []
    for name, programs in (("all", [*range(128), -1]), ("some", [0, 32, 70, -1]), ("none", None)):
        save_bundle(home / f"{name}.ckpt", bundle.model, bundle.tokenizer, bundle.config, {"programs": programs})
        words = [f"ckpt={name}.ckpt", "device=cpu", f"json={name}.json"]
        assert app.execute("evaluate", evaluate.evaluate, words) == 0
        found.append(json.loads((home / f"{name}.json").read_text()))
        errors.append(capsys.readouterr().err)
    assert "never met" not in errors[0] + errors[2] and not {"unmet_pieces"} & (set(found[0]) | set(found[2]))
    unmet, pieces = found[1]["unmet_pieces"], found[1]["pieces"]
    assert 0 < unmet <= pieces and found[1]["nats_per_note"] == found[0]["nats_per_note"]
    assert (
        f"{unmet} of {pieces} pieces have programs that training never met, whose tokens are not learned: " in errors[1]
    )
    assert "65 (a prompt's become 70)" in errors[1] and "drums" not in errors[1]


def test_pieces_with_other_tokens_that_training_never_met_are_counted_and_named_by_kind(home: Path, capsys) -> None:
    bundle = load_bundle(home / "tiny.ckpt")
    vocabulary = Codec.from_dict(bundle.tokenizer).vocabulary
    lost = [id_ for id_, token in enumerate(vocabulary.tokens) if token.startswith(("Velocity_", "Pitch_7"))]
    lost += vocabulary.ids_of(Kind.DURATION)[3:].tolist()
    progress = {"programs": [*range(128), -1], "unmet_tokens": lost}
    save_bundle(home / "unmet.ckpt", bundle.model, bundle.tokenizer, bundle.config, progress)
    words = ["ckpt=unmet.ckpt", "device=cpu", "json=unmet.json", "report=unmet"]
    assert app.execute("evaluate", evaluate.evaluate, words) == 0
    error, found = capsys.readouterr().err, json.loads((home / "unmet.json").read_text())
    pieces = found["pieces"]
    assert found["unmet_pieces"] == found["unmet"]["velocities"] == pieces and set(found["unmet"]) >= {"pitches"}
    assert f"{pieces} of {pieces} pieces have tokens that training never met, which are not learned: pitches 7" in error
    assert f"velocities 63, 127 ({pieces} pieces)" in error and re.search(r"durations 1, [\d.]+.* beats", error)
    assert "programs" not in error
    assert (
        app.execute("evaluate", evaluate.evaluate, ["compare=[unmet.ckpt,tiny.ckpt]", "device=cpu", "split=all"]) == 0
    )
    error = capsys.readouterr().err
    assert re.search(r"unmet: \d+ of 24 pieces have tokens that training never met", error)
    assert re.search(r"tiny: \d+ of 24 pieces have programs that training never met", error)


def test_programs_that_augmentation_put_in_place_of_others_have_been_met(home: Path, capsys) -> None:
    bundle = load_bundle(home / "tiny.ckpt")
    progress = {"programs": [0], "unmet_tokens": []}  # of pieces before augmentation; of tokens after it
    save_bundle(home / "met.ckpt", bundle.model, bundle.tokenizer, bundle.config, progress)
    words = ["ckpt=met.ckpt", "device=cpu", "json=met.json", "report=met"]
    assert app.execute("evaluate", evaluate.evaluate, words) == 0
    assert "never met" not in capsys.readouterr().err and "unmet" not in json.loads((home / "met.json").read_text())


def test_bound_and_estimate_of_a_model_with_latents_cannot_be_confused(home: Path, capsys) -> None:
    cfg = conf.compose("train", [*SETTINGS, "model=vae", "model.attributes=[density]", "model.latent_dim=4"])
    codec = Codec.from_config(conf.to_config(cfg.tokenizer))
    model = MusicTransformerVAEGAN(
        conf.to_config(cfg.model), codec.vocabulary.size, TokenMeaning.of(codec.vocabulary.meaning())
    )
    config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    save_bundle(home / "vae.ckpt", model, codec.to_dict(), config, {"programs": [0, 32]})  # type: ignore[arg-type]
    words = ["ckpt=vae.ckpt", "device=cpu", "importance_samples=2", "json=vae.json", "report=vae"]
    assert app.execute("evaluate", evaluate.evaluate, words) == 0
    output = capsys.readouterr().out
    assert "nats per note (upper bound)" in output
    assert "nats per note (importance-weighted, 2 samples)" in output and "hardly more than a bound" in output
    found = json.loads((home / "vae.json").read_text())
    cut, pieces = found["windowed_pieces"], found["pieces"]
    assert 0 < cut <= pieces
    label = f"not strictly for {cut} of {pieces} pieces, which are longer than the context"
    assert f"upper bound; {label}" in output and label in (home / "vae" / "report.html").read_text(encoding="utf-8")
    estimate = found["importance_weighted"]
    assert found["bound"] is True and estimate["samples"] == 2
    assert estimate["nats_per_note"] <= estimate["bound_nats_per_note"]
    page = (home / "vae" / "report.html").read_text()
    assert "nats per note, importance-weighted, 2 samples" in page and "(upper bound)" in page


def test_samples_are_compared_with_the_split_and_the_report_plays_them(home: Path, capsys) -> None:
    arguments = ("samples=4", "bars=1", "seed=3", "metrics=[pitch,rhythm]", "report=out", "json=s.json")
    assert run(*arguments) == 0, capsys.readouterr().err
    output = capsys.readouterr().out
    assert "4 samples, beside synth, test, the first 1 bar\n" in output and "validation:" in output
    assert "out/report.html" in output
    page = (home / "out" / "report.html").read_text(encoding="utf-8")
    found = json.loads((home / "out" / "report.json").read_text())
    assert found == json.loads((home / "s.json").read_text())
    assert (
        found["music"]["pieces"] == 4
        and found["music"]["reference_pieces"] == found["pieces"]
        and found["nats_per_note"] > 0
    )
    files = sorted((home / "out" / "samples").iterdir())
    assert [file.name for file in files] == [f"sample_000{number}.mid" for number in (1, 2, 3, 4)]
    assert all(sum(len(track.notes) for track in Score(str(file)).tracks) for file in files)
    assert page.count("<audio") == 3 and page.count("<article class=sample") == 3
    assert "temperature 1, top_p 0.95, seeds from 3, beside synth, test" in page
    assert len(page) < 10_000_000 and not re.search(r"(src|href)=\"?https?:", page)


def test_a_second_report_leaves_no_sample_of_the_first_and_repeats_its_figures(home: Path) -> None:
    arguments = ("samples=3", "bars=1", "seed=3", "likelihood=false", "metrics=[pitch]", "judges=[]", "report=again")
    assert run(*arguments) == 0
    first = (home / "again" / "report.json").read_text()
    assert "nats_per_note" not in json.loads(first)
    assert run(*arguments, "batch_size=2") == 0
    assert (home / "again" / "report.json").read_text() == first
    assert run(*(a if a != "samples=3" else "samples=2" for a in arguments)) == 0
    assert len(list((home / "again" / "samples").iterdir())) == 2


def test_samples_are_compared_with_folders_where_they_are_named(home: Path, capsys) -> None:
    asked = ("bars=1", "likelihood=false", "metrics=[pitch]", "judges=[]")
    assert run("samples=3", *asked, "report=ref") == 0
    capsys.readouterr()
    folder = home / "ref" / "samples"
    assert run("samples=1", *asked, f"reference={folder}", f"training={folder}", "json=r.json", "report=one") == 0
    assert "whole pieces" in capsys.readouterr().out
    found = json.loads((home / "r.json").read_text())["music"]
    assert found["reference_pieces"] == 3
    (row,) = found["comparison"]["copies"]["files"]
    assert row["path"] == "sample_0001.mid"
    assert (home / "one" / "report.html").read_text(encoding="utf-8").count("<audio") == 1
    (home / "broken.mid").write_bytes(b"MThd nothing")
    assert run("samples=1", *asked, f"training={home / 'broken.mid'}") == app.FAILED
    assert "broken.mid: no file can be read" in capsys.readouterr().err


def test_a_peer_is_timed_on_as_many_tokens(home: Path, capsys) -> None:
    pytest.importorskip("transformers")
    asked = ("technical=true", "batch_sizes=[1]", "technical_bars=1", "rounds=1", "technical_peer=huggingface")
    assert run(*asked, "json=p.json", "report=peer") == 0
    assert "Hugging Face GPT-2 tokens/s" in capsys.readouterr().out
    found = json.loads((home / "p.json").read_text())["technical"]
    assert found["peer"][0]["tokens"] == found["speed"][0]["tokens"]
    assert "Beside the peer" in (home / "peer" / "report.html").read_text(encoding="utf-8")


def test_two_checkpoints_are_compared_piece_by_piece(home: Path, capsys) -> None:
    content = torch.load(home / "tiny.ckpt", weights_only=True)
    for name, tensor in content["state_dict"].items():
        content["state_dict"][name] = tensor * 10 if tensor.ndim > 1 else tensor  # surer of its guesses, and wrong
    torch.save(content, home / "wrong.ckpt")
    words = ["compare=[tiny.ckpt,wrong.ckpt]", "device=cpu", "split=all", "json=c.json", "report=compared"]
    assert app.execute("evaluate", evaluate.evaluate, words) == 0
    assert "wrong minus tiny: " in capsys.readouterr().out
    (row,) = json.loads((home / "c.json").read_text())["differences"]
    assert row["pairs"] == 24 and row["low"] > 0 and row["p_holm"] < 0.01
    page = (home / "compared" / "report.html").read_text(encoding="utf-8")
    assert "Differences" in page and "nats_per_note" in page and "Nothing was measured" not in page


def test_speed_is_a_table_and_leaves_the_likelihood_out(home: Path, capsys) -> None:
    assert (
        run("technical=true", "batch_sizes=[2,1]", "technical_bars=1", "rounds=1", "json=t.json", "report=speed") == 0
    )
    output = capsys.readouterr().out
    assert "pieces at once" in output and "nats" not in output
    found = json.loads((home / "t.json").read_text())
    assert set(found) == {"technical"} and [row["batch_size"] for row in found["technical"]["speed"]] == [1, 2]
    assert found["technical"]["size"]["parameters"] > 1000
    page = (home / "speed" / "report.html").read_text(encoding="utf-8")
    assert "Throughput" in page and "Latency" in page and "<audio" not in page


def test_a_stage_runs_in_a_fresh_process(home: Path, capsys) -> None:
    assert run("technical=true", "batch_sizes=[1]", "technical_bars=1", "rounds=1", "stages=[data]", "json=d.json") == 0
    assert re.search(r"data: peak \d+ MiB, \d+ with its children, .* s \(synth, all pieces\)", capsys.readouterr().out)
    (row,) = json.loads((home / "d.json").read_text())["technical"]["stages"]
    assert 20 < row["start_mb"] <= row["peak_mb"] <= row["tree_mb"]


@pytest.mark.parametrize("name", ["training", "generation"])
def test_the_other_stages_do_what_they_say(home: Path, tmp_path: Path, name: str) -> None:
    run("likelihood=true")  # prepares the corpus
    asked = {
        "stage": name,
        "checkpoint": str(home / "tiny.ckpt"),
        "device": "cpu",
        "cache": str(home / "cache"),
        "folder": str(tmp_path),
        "batch_size": 2,
        "bars": 1,
        "seed": 0,
    }
    found = stage.run_stage(asked)
    words = {"training": "12 batches of 256 tokens", "generation": "2 pieces of 1 bars at once"}
    assert found["what"] == words[name] and found["seconds"] > 0 and found["peak_mb"] >= found["start_mb"] > 0


def test_a_stage_needs_a_checkpoint_with_its_settings(home: Path, tmp_path: Path) -> None:
    content = torch.load(home / "tiny.ckpt", weights_only=True)
    content["aurl"]["config"] = {"data": content["aurl"]["config"]["data"]}
    torch.save(content, tmp_path / "bare.ckpt")
    asked = {"stage": "training", "checkpoint": str(tmp_path / "bare.ckpt"), "device": "cpu"}
    with pytest.raises(AurlError, match="does not hold model, tokenizer of its run"):
        stage.run_stage(asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["samples=-1"], "samples=-1 is out of range; allowed: 0 or more"),
        (["samples=2", "bars=0"], "bars=0 is out of range; allowed: 1 or more"),
        (["samples=2", "top_p=0"], "top_p=0 would leave no token"),
        (["samples=2", "metrics=[ptch]"], "metrics=ptch is unknown"),
        (["samples=2", "reference=nowhere"], "does not exist; give a folder of music or one file"),
        (["stages=[data]"], "stages=['data'] goes with technical=true"),
        (["technical_peer=huggingface"], "technical_peer=huggingface goes with technical=true"),
        (
            ["technical=true", "stages=[date]"],
            "stages=date is unknown; allowed: one or more of data, training, generation",
        ),
        (["technical=true", "technical_peer=gpt"], "technical_peer=gpt is unknown; allowed: huggingface"),
        (["technical=true", "batch_sizes=[0]"], "batch_sizes=0 is out of range; allowed: 1 or more"),
        (["technical=true", "batch_sizes=[]"], "batch_sizes=[] names none"),
        (["importance_samples=-1"], "importance_samples=-1 is out of range; allowed: 0 or more"),
        (["importance_samples=4"], "importance_samples=4: ckpt="),
        (["importance_samples=4"], "tiny.ckpt has no latents, its nats_per_note is the likelihood itself"),
        (
            ["importance_samples=4", "technical=true"],
            "goes with the likelihood, which is left out here; add likelihood",
        ),
        (["importance_samples=4", "samples=2", "likelihood=false"], "importance_samples=4 goes with the likelihood"),
        (["importance_samples=4", "music=here"], "leave out importance_samples, or leave out music"),
        (["compare=[tiny.ckpt,tiny.ckpt]", "importance_samples=4"], "and importance_samples=4 do not go together"),
        (["likelihood=false"], "likelihood=false leaves nothing to measure"),
        (["report=tiny.ckpt/here"], "tiny.ckpt is a file; give a folder"),
        (["music=here", "technical=true", "samples=3"], "leave out samples and technical"),
        (["split=middle"], "split=middle is unknown"),
        (["compare=[tiny.ckpt,tiny.ckpt]", "samples=3"], "compare=[A,B] and samples=3 do not go together"),
        (["training=here"], "here goes with music=FOLDER"),
        (["samples=2", "training=nowhere"], "training="),
        (["samples=2", "judges=[oracle]"], "judges=oracle is unknown"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, arguments: list[str], message: str) -> None:
    assert run(*arguments) == app.FAILED
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1 and "Traceback" not in error


def test_the_loss_around_the_weights_is_drawn_by_the_command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("AURL_CACHE", str(home / "cache"))
    monkeypatch.setattr("sys.argv", ["aurl"])
    small = ("ckpt=tiny.ckpt", "landscape_size=3", "landscape_pieces=1")
    assert app.execute("evaluate", evaluate.evaluate, [*small, "landscape=around.png"]) == 0
    written = capsys.readouterr().out
    assert "around.png" in written and "around.npz" in written and "nats per note" not in written
    assert (home / "around.png").stat().st_size > 1000
    for wrong, message in (
        ("landscape=around.jpg", "give it a name that ends in .png"),
        ("landscape_size=4", "landscape_size=4 is even; allowed: odd numbers, 3 or more"),
        ("landscape_span=0", "landscape_span=0.0 is out of range; allowed: above 0"),
    ):
        assert app.execute("evaluate", evaluate.evaluate, [*small, "landscape=around.png", wrong]) == app.FAILED
        assert message in capsys.readouterr().err
