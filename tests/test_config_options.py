"""The table of sd-scripts' options: every row does what its state says, and schema and table agree."""

from __future__ import annotations

import pytest

from engine.adapters import METHODS
from engine.config import options
from engine.config.keys import Key, dataset_keys, run_keys, sections, subset_keys
from engine.config.load import Loaded, load
from engine.config.options import ARG_VALUES_NOT_YET, NETWORK_ARGS, NEVER, NO_EFFECT, NOT_YET, WORKS, Option
from engine.config.problems import ConfigError, Origin
from engine.config.rows import Rows
from engine.config.sources import Entry, Flags
from engine.diffusion.samplers import SAMPLERS
from engine.errors import row_named
from engine.models import FAMILIES
from engine.optimization.optimizers import OPTIMIZERS
from engine.optimization.schedules import SCHEDULES

ROWS = Rows(METHODS, OPTIMIZERS, SCHEDULES, SAMPLERS, FAMILIES)
NOTHING: tuple[object, ...] = (False, 0, 0.0, "", "0", "false", "None", [])


def given(key: str, raw: object) -> Loaded:
    return load([Flags((Entry(key, raw, Origin("a.toml", 1)),))], ROWS)


def refused(key: str, raw: object) -> str:
    with pytest.raises(ConfigError) as caught:
        given(key, raw)
    return "\n".join(str(problem) for problem in caught.value.problems)


def names(state: str) -> list[str]:
    return [option.name for option in options.RUN_OPTIONS if option.state == state and not option.same_as]


def test_names_are_unique_and_states_known() -> None:
    for table in (options.RUN_OPTIONS, options.DATASET_OPTIONS, NETWORK_ARGS):
        listed = [option.name for option in table]
        assert sorted(set(listed)) == sorted(listed)
        assert {option.state for option in table} <= {WORKS, NO_EFFECT, NOT_YET, NEVER}


def test_the_schema_holds_exactly_what_works() -> None:
    keys = run_keys()
    assert sum(len(section.keys) for section in sections()) == len(keys), "a key stands in two sections"
    assert sorted(names(WORKS)) == sorted([*(name for name, key in keys.items() if not key.meta.ours), *options.SOURCES])
    assert not [name for name, key in keys.items() if key.meta.ours and name in options.RUN]
    working = [option.name for option in options.DATASET_OPTIONS if option.state == WORKS]
    assert sorted(working) == sorted({*dataset_keys(), *subset_keys(), "image_dir"})


@pytest.mark.parametrize("option", options.RUN_OPTIONS, ids=lambda option: option.name)
def test_a_row_does_what_its_state_says(option: Option) -> None:
    if option.name in options.SOURCES:
        return
    if option.same_as:
        assert option.same_as in run_keys() and option.state == WORKS
    elif option.state == WORKS:
        assert option.name in run_keys()
    elif option.only_with:
        assert given(option.name, "x").notices == ()
    elif option.state == NO_EFFECT:
        assert given(option.name, ()).notices == (f"a.toml:1  {option.name}: has no effect here; {option.says}",)
    elif option.state == NOT_YET:
        assert refused(option.name, "x") == f"a.toml:1  {option.name}: is not available yet; {option.says or 'leave it out'}"
    else:
        assert option.says
        assert refused(option.name, "x") == f"a.toml:1  {option.name}: is not supported; {option.says}"


@pytest.mark.parametrize("option", options.RUN_OPTIONS, ids=lambda option: option.name)
def test_a_value_that_asks_for_nothing_is_accepted(option: Option) -> None:
    if option.state == WORKS:
        return
    for value in (*NOTHING, *option.inert):
        assert given(option.name, value).notices == ()


def example(key: Key) -> object:
    """A value of a key that is not its default."""
    special = {"size": "512,768", "share": "5%", "rate": "1e-5", "colour": "#000000", "device": "cpu", "extension": "cap", "path": "x"}
    if key.meta.rows:
        return ROWS.of(key.meta.rows)[-1].name
    if key.meta.choices:
        return key.meta.choices[-1]
    if key.meta.kind == "pairs":
        return [f"{'conv_dim' if key.name == 'network_args' else 'weight_decay'}=2"]
    if key.meta.kind:
        return special[key.meta.kind]
    if key.type is bool:
        return not key.default
    if key.type is str:
        return "x"
    low = key.meta.low if key.meta.low is not None else 1
    return key.meta.high if key.meta.high is not None else low + 1024


# What a key needs beside it, so that no rule objects.
COMPANIONS = {
    "network_train_unet_only": "cache_text_encoder_outputs",
    "network_weights": "dim_from_weights",
    "train_data_dir": "reg_data_dir",
}


@pytest.mark.parametrize("key", run_keys().values(), ids=lambda key: key.name)
def test_every_key_that_works_can_be_set(key: Key) -> None:
    entries = [Entry(key.name, example(key), Origin("a.toml", 1))]
    entries += [Entry(other, example(run_keys()[other]), Origin("a.toml", 2)) for other, name in COMPANIONS.items() if name == key.name]
    if key.name == "lr_warmup_steps":
        entries.append(Entry("lr_scheduler", "cosine", Origin("a.toml", 2)))
    loaded = load([Flags(tuple(entries))], ROWS)
    value = getattr(getattr(loaded.config, key.section), key.name)
    assert value != key.default or key.meta.choices or key.meta.high == key.default, value
    assert loaded.origins[key.name] == Origin("a.toml", 1)


def test_old_names_stand_for_the_new() -> None:
    assert given("caption_extention", "txt").config.data.caption_extension == ".txt"
    assert given("use_8bit_adam", ()).config.optimizer.optimizer_type == "AdamW8bit"
    assert given("use_lion_optimizer", True).config.optimizer.optimizer_type == "Lion"
    assert given("use_8bit_adam", False).config.optimizer.optimizer_type == "AdamW"


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in options.VALUES_NOT_YET.items() for value in values.split()])
def test_values_that_are_not_available_yet_are_named(key: str, value: str) -> None:
    registry = ROWS.of(run_keys()[key].meta.rows)
    assert row_named(registry, value) is None, f"{value} is in the registry now; take it out of VALUES_NOT_YET"
    known = ", ".join(row.name for row in registry) or ", ".join(map(str, run_keys()[key].meta.choices))
    advice = options.VALUES_ADVICE.get(key, {}).get(value.lower(), "")
    said = f"a.toml:1  {key}: `{value}` is not available yet; there is {known}"
    assert refused(key, value) == said + (f". {advice}" if advice else "")
    assert bool(advice) == value.startswith("DAdapt")


def test_values_that_are_refused_give_the_reason() -> None:
    assert refused("save_model_as", "ckpt") == (
        "a.toml:1  save_model_as: `ckpt` is not supported; such a file can run code when it is opened; every program reads .safetensors"
    )
    assert refused("log_with", "wandb") == (
        "a.toml:1  log_with: `wandb` is not supported; a run talks to no server; its logs are TensorBoard files in `logging_dir`"
    )


def test_network_args_that_are_not_available_yet() -> None:
    for option in NETWORK_ARGS:
        raw = [f"{option.name}=1,2"]
        if option.only_with:
            assert given("network_args", raw).config.network.network_args == {}
        elif option.state == NO_EFFECT:
            notices = (f"a.toml:1  network_args: `{option.name}` has no effect here; {option.says}",)
            assert given("network_args", raw).notices == notices
        else:
            assert refused("network_args", raw) == f"a.toml:1  network_args: `{option.name}` is not available yet; leave it out"


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in ARG_VALUES_NOT_YET.items() for word in words.split()])
def test_their_values_that_are_not_available_yet_are_named(name: str, word: str) -> None:
    loaded = Entry("network_module", "lycoris.kohya", Origin("a.toml", 2)), Entry("network_args", [f"{name}={word}"], Origin("a.toml", 1))
    with pytest.raises(ConfigError) as caught:
        load([Flags(loaded)], ROWS)
    assert f"network_args: {name}: `{word}` is not available yet; there is " in str(caught.value.problems[0])


def test_a_word_that_is_none_of_an_option_gets_the_nearest() -> None:
    wrong = Entry("network_module", "lycoris.kohya", Origin("a.toml", 2)), Entry("network_args", ["algo=lohaa"], Origin("a.toml", 1))
    with pytest.raises(ConfigError) as caught:
        load([Flags(wrong)], ROWS)
    assert "network_args: algo: `lohaa` is no algo. Did you mean `loha`" in str(caught.value.problems[0])


@pytest.mark.parametrize("raw", [["algo=", "preset="], {"algo": "", "preset": None}])
def test_an_empty_word_is_the_default_as_in_lycoris(raw: object) -> None:
    empty = Entry("network_module", "lycoris.kohya", Origin("a.toml", 2)), Entry("network_args", raw, Origin("a.toml", 1))
    assert load([Flags(empty)], ROWS).config.network.network_args == {"algo": "lora", "preset": "full"}


@pytest.mark.parametrize("word", ["True", "1", "x"])
def test_a_switch_of_lycoris_that_switches_off_what_is_not_there_has_no_effect(word: str) -> None:
    loaded = given("network_args", [f"disable_conv_cp={word}"])
    assert loaded.config.network.network_args == {}
    assert loaded.notices == ("a.toml:1  network_args: `disable_conv_cp` has no effect here; convolutions never get Tucker factors",)
