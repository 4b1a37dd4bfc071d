"""BLIP and Florence-2 from folders: small random ones, held against transformers' own processors, and folders that lack something."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import captioners_fakes as fakes
import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BlipForConditionalGeneration,
    BlipProcessor,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from engine import captioners
from engine.captioners import Captioner, drawing, folder, images
from engine.captioners.local import Local, Wording
from engine.errors import UserError

CPU = torch.device("cpu")
ROWS = {"blip": fakes.BLIP, "florence": fakes.FLORENCE}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("captioners 模型")
    return {"blip": fakes.blip(top / "blip-large"), "florence": fakes.florence(top / "florence-2-base")}


@pytest.fixture(params=["blip", "florence"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def picture(seed: int = 0, size: tuple[int, int] = (70, 50)) -> Image.Image:
    return Image.fromarray(numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8))


def load(row: Captioner, path: Path, **wording: object) -> Local:
    words = Wording(row.tasks[0].prompt, **{"max_length": 16, **wording})  # type: ignore[arg-type]  # as the test names them
    return Local(row, folder.look(row, path), words, CPU, torch.float32)


def library_processor(kind: str) -> object:
    """The image processor that the model's authors name, in its form without torchvision, at the row's real size."""
    if kind == "blip":
        return BlipImageProcessorPil()
    row = captioners.row("florence-2-base")
    return CLIPImageProcessorPil(
        size={"height": row.side, "width": row.side}, do_center_crop=False, image_mean=row.mean, image_std=row.deviation, resample=3
    )


@pytest.mark.parametrize("size", [(900, 500), (384, 384), (33, 401)])
def test_a_picture_becomes_the_numbers_of_the_librarys_processor(kind: str, size: tuple[int, int]) -> None:
    row, source = captioners.row(kind), picture(3, size)
    theirs = library_processor(kind)(source, return_tensors="np")["pixel_values"][0]  # type: ignore[operator]
    ours = images.numbers(source, row)
    assert ours.dtype == numpy.float32 and ours.shape == (3, row.side, row.side)
    assert numpy.abs(ours - theirs).max() < 1e-6


def test_the_best_of_three_paths_is_the_librarys(kind: str, folders: dict[str, Path]) -> None:
    """The whole way, as the models' pages show it: their processor, their tokenizer, their `generate`."""
    row, sources = ROWS[kind], [picture(seed) for seed in range(3)]
    square = {"height": row.side, "width": row.side}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folders[kind] / "tokenizer.json"), pad_token="[PAD]")
    if kind == "blip":
        tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
        inputs = BlipProcessor(BlipImageProcessorPil(size=square), tokenizer)(
            images=sources, text=["a picture of [SEP]"] * 3, return_tensors="pt"
        )
        inputs["input_ids"] = torch.cat([inputs["input_ids"][:, :1] * 0, inputs["input_ids"]], dim=1)  # the place of [DEC]
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        model = BlipForConditionalGeneration.from_pretrained(str(folders[kind]))
    else:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folders[kind] / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="<pad>",
            extra_special_tokens={"image_token": "<image>"},
        )  # fmt: skip
        processor = CLIPImageProcessorPil(size=square, do_center_crop=False, image_mean=row.mean, image_std=row.deviation)
        processor.image_seq_length = 5
        inputs = Florence2Processor(processor, tokenizer)(images=sources, text=["<CAPTION>"] * 3, return_tensors="pt")
        model = Florence2ForConditionalGeneration.from_pretrained(str(folders[kind]))
    options = {"num_beams": 3, "max_length": 16, "min_length": 5, "early_stopping": True, "do_sample": False}
    if kind == "florence":
        options.update(no_repeat_ngram_size=3, forced_bos_token_id=0, forced_eos_token_id=2)
    made = model.eval().generate(**inputs, **options)
    theirs = [tokenizer.decode(ids, skip_special_tokens=True) for ids in made[:, 4:] if kind == "blip"] or tokenizer.batch_decode(
        made, skip_special_tokens=True
    )
    ours = load(row, folders[kind], num_beams=3)
    assert ours.describe([ours.prepare(it) for it in sources], [0] * 3) == [" ".join(text.split()) for text in theirs]


@pytest.mark.parametrize(
    ("kind", "num_beams"),
    [("blip", 1), ("florence", 2), pytest.param("blip", 2, marks=pytest.mark.slow), pytest.param("florence", 1, marks=pytest.mark.slow)],
)
def test_a_caption_depends_on_its_picture_and_its_seed_alone(kind: str, num_beams: int, folders: dict[str, Path]) -> None:
    model = load(ROWS[kind], folders[kind], num_beams=num_beams)
    prepared, seeds = [model.prepare(picture(seed)) for seed in range(3)], [11, 12, 13]
    together = model.describe(prepared, seeds)
    assert [model.describe([it], [seed])[0] for it, seed in zip(prepared, seeds, strict=True)] == together
    assert model.describe(prepared[::-1], seeds[::-1])[::-1] == together
    assert len(set(together)) > 1
    assert (model.describe(prepared, [21, 22, 23]) == together) is (num_beams > 1)


@pytest.mark.slow
def test_tasks_ask_different_things(folders: dict[str, Path]) -> None:
    row = fakes.FLORENCE
    said = set()
    for name in ("", "<DETAILED_CAPTION>", "more_detailed"):
        words = Wording(row.task(name).prompt, num_beams=2, max_length=16)
        model = Local(row, folder.look(row, folders["florence"]), words, CPU, torch.float32)
        said.add(model.describe([model.prepare(picture())], [0])[0])
    assert len(said) == 3
    with pytest.raises(UserError, match=r"no task of florence-2-base `detaild`\nhint: Did you mean `detailed`"):
        row.task("detaild")


@pytest.mark.parametrize(
    ("max_length", "min_length", "said"),
    [
        (1, 0, r"--max_length: 1 tokens: .* takes [25] to \d+"),
        (5000, 0, "--max_length: 5000 tokens"),
        (9, 10, "--min_length: 10 tokens is more"),
    ],
)
def test_lengths_that_cannot_be_written_are_refused(
    kind: str, max_length: int, min_length: int, said: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=said):
        load(ROWS[kind], folders[kind], max_length=max_length, min_length=min_length)


@pytest.mark.slow
def test_lengths_bound_what_is_written(kind: str, folders: dict[str, Path]) -> None:
    """In tokens, of which the small tokenizers make at most a word each; BLIP counts its prompt of three words too."""
    before = 4 if kind == "blip" else 1
    tokens = []
    for length in (3, 20):
        model = load(ROWS[kind], folders[kind], max_length=before + length, min_length=before + length)
        (said,) = model.describe([model.prepare(picture())], [0])
        tokens.append(len(model._found.tokenizer.encode(said, add_special_tokens=False)))
    assert tokens[0] <= 4 < tokens[1]


def test_words_are_drawn_from_the_likeliest_alone() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.05, 0.05, 0.1, 0.8]]))
    assert drawing.nucleus(scores, 0.9).isfinite().tolist() == [[True, True, True, False], [False, False, True, True]]
    assert drawing.nucleus(scores, 0.01).isfinite().tolist() == [[True, False, False, False], [False, False, False, True]]
    assert torch.equal(drawing.nucleus(scores, 1.0), scores)


def test_draws_follow_the_probabilities() -> None:
    """Of 4,000 draws at top_p 0.8, which leaves two words of 5/8 and 3/8; three deviations are 92."""
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).expand(4000, -1)
    counts = drawing.Draw(0.8, range(4000))(torch.empty(0), scores).argmax(dim=-1).bincount(minlength=4).tolist()
    assert counts[2:] == [0, 0] and abs(counts[0] - 2500) < 92


@pytest.mark.parametrize("name", ["blip-large", "BLIP", "Salesforce/blip-image-captioning-large"])
def test_a_captioner_is_known_by_its_names(name: str) -> None:
    assert captioners.row(name).name == "blip-large"


def test_an_unknown_captioner_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="Did you mean `blip-large`"):
        captioners.row("blip-larg")


@pytest.mark.slow
def test_a_pickled_file_is_read_where_there_is_no_other(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    fakes.pickle_weights(copy)
    ours, theirs = load(ROWS[kind], copy), load(ROWS[kind], folders[kind])
    prepared = [ours.prepare(picture())]
    assert ours.describe(prepared, [1]) == theirs.describe(prepared, [1])


@pytest.mark.slow
def test_a_tensor_of_two_names_may_have_either(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    names = {
        "blip": ("text_decoder.bert.embeddings.word_embeddings.weight", "text_decoder.cls.predictions.decoder.weight"),
        "florence": ("model.language_model.shared.weight", "lm_head.weight"),
    }[kind]
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    _other_tensors(copy, lambda it: it.update({names[1]: it.pop(names[0])}))
    ours, theirs = load(ROWS[kind], copy), load(ROWS[kind], folders[kind])
    prepared = [ours.prepare(picture())]
    assert ours.describe(prepared, [1]) == theirs.describe(prepared, [1])


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("trapped", "w")  # what an unpickled file may do


def test_a_pickled_file_that_runs_code_is_refused(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(folders["blip"], tmp_path / "copy")
    torch.save({**load_file(copy / "model.safetensors"), "more": _Trap()}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pytorch_model.bin: this file holds more than tensors"):
        load(fakes.BLIP, copy)
    assert not (tmp_path / "trapped").exists()


def _other_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})


def _configured(path: Path, **values: object) -> None:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (
        lambda path: shutil.rmtree(path),
        r"needs config.json, tokenizer.json and model.safetensors here\nhint: .*download captioner",
    ),
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), r"needs tokenizer.json here\nhint: .*without internet, copy"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "needs model.safetensors here"),
    "no json": (lambda path: (path / "config.json").write_text("<html>", encoding="utf-8"), "config.json: this is not the configuration"),
    "a list": (lambda path: (path / "config.json").write_text("[]", encoding="utf-8"), "config.json: this is not the configuration"),
    "another kind": (lambda path: _configured(path, model_type="git"), "a model of the kind `git`"),
    "remote code": (lambda path: _configured(path, auto_map={}), "runs Python code of its own"),
    "odd values": (lambda path: _configured(path, text_config={"hidden_size": -3}), "no model can be built by it"),
    "a page": (lambda path: (path / "tokenizer.json").write_text("<html>", encoding="utf-8"), "tokenizer.json: this is not a tokenizer"),
    "a latin page": (lambda path: (path / "tokenizer.json").write_bytes(b"\xff\xfe"), "tokenizer.json: this is not a tokenizer"),
    "cut short": (
        lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-100]),
        "model.safetensors: the file is incomplete",
    ),
    "a tensor less": (
        lambda path: _other_tensors(path, lambda it: it.pop(next(name for name in it if "norm" in name))),
        r"1 of the \d+ tensors of .* are not in it, for example `.*norm",
    ),
    "a tensor of another shape": (
        lambda path: _other_tensors(path, lambda it: it.update({name: it[name][:1].clone() for name in list(it)[:1]})),
        r"has the shape \[1.*config.json beside it says",
    ),
}


SPOILED = [pytest.param("blip", wrong) for wrong in WRONG] + [pytest.param("florence", wrong, marks=pytest.mark.slow) for wrong in WRONG]


@pytest.mark.parametrize(("kind", "wrong"), SPOILED)
def test_a_folder_that_is_not_right_is_refused_by_name(kind: str, wrong: str, folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    spoil, said = WRONG[wrong]
    spoil(copy)
    with pytest.raises(UserError, match=said):
        load(ROWS[kind], copy)


def test_another_models_tokenizer_is_refused(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    other = folders["florence" if kind == "blip" else "blip"]
    shutil.copy(other / "tokenizer.json", copy)
    with pytest.raises(UserError, match=r"this tokenizer is not that of .* has the number None"):
        load(ROWS[kind], copy)


def test_no_weight_is_read_before_the_folder_is_right(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(folders["blip"], tmp_path / "copy")
    _other_tensors(copy, lambda it: it.pop(next(iter(it))))
    monkeypatch.setattr(BlipForConditionalGeneration, "from_pretrained", lambda *args, **options: pytest.fail("it was loaded"))
    with pytest.raises(UserError, match="tensors of blip-large"):
        load(fakes.BLIP, copy)
