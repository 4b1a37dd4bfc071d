"""What settings must be to one another. One function a rule; a rule runs only where the keys it reads could be read.

A contradiction that would train something else than was meant is a problem; one that cancels out is a notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.config.problems import DEFAULT, Findings, Origin
from engine.config.schema import Config, TrainingConfig
from engine.config.schema_data import BucketSettings, DatasetOptions
from engine.config.sources import DatasetTree
from engine.config.toml_lines import KeyPath
from engine.pixels import bucket_faults

_STEPS = TrainingConfig().max_train_steps
SIZE_KEYS = ("resolution", "enable_bucket", "bucket_no_upscale", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps")


@dataclass(frozen=True)
class View:
    """What a rule sees: the settings, where each came from, and where to say what it finds."""

    config: Config
    origins: Mapping[str, Origin]
    findings: Findings

    def given(self, key: str) -> bool:
        """Whether the user set the key."""
        return self.origin(key).given

    def origin(self, key: str) -> Origin:
        """Where the key's value came from."""
        return self.origins.get(key, DEFAULT)

    def problem(self, key: str, message: str) -> None:
        """Note a problem at the key."""
        self.findings.problem(self.origin(key), key, message)

    def notice(self, key: str, message: str) -> None:
        """Note something worth knowing at the key."""
        self.findings.notice(self.origin(key), key, message)


def _buckets(view: View, options: BucketSettings, key_origin: Callable[[str], Origin]) -> None:
    """Sizes against bucket steps and limits, for the run and for each dataset."""
    faults = bucket_faults(
        resolution=options.resolution,
        enable=options.enable_bucket,
        minimum=options.min_bucket_reso,
        maximum=options.max_bucket_reso,
        step=options.bucket_reso_steps,
        no_upscale=options.bucket_no_upscale,
    )
    for fault in faults:
        view.findings.problem(key_origin(fault.key), fault.key, f"{fault.message}; {fault.remedy}")


def sizes(view: View) -> None:
    """Resolution and buckets of the run."""
    if not view.config.data.datasets:
        _buckets(view, view.config.data, view.origin)


def dataset(view: View, options: DatasetOptions, tree: DatasetTree, number: int) -> None:
    """Resolution and buckets of one dataset of a file, each key named where it was set."""

    def origin(key: str) -> Origin:
        places: tuple[KeyPath, ...] = (("datasets", number, key), ("general", key))
        return next((tree.origin(place) for place in places if place in tree.lines), view.origin(key))

    if not view.findings.broken.intersection(SIZE_KEYS):
        _buckets(view, options, origin)


def folders(view: View) -> None:
    """A dataset file replaces the folder method; regularisation pictures need pictures."""
    data = view.config.data
    if data.datasets:
        for key in ("train_data_dir", "reg_data_dir"):
            if view.given(key):
                view.notice(key, "is not used: the dataset file names its own folders")
    elif data.reg_data_dir and not data.train_data_dir:
        view.problem("reg_data_dir", "there are regularisation pictures but no train_data_dir")


def caches(view: View) -> None:
    """Caching to disk is caching."""
    data = view.config.data
    if not data.cache_latents and view.given("cache_latents_to_disk") and data.cache_latents_to_disk:
        view.problem("cache_latents_to_disk", "contradicts cache_latents = false; leave one out")
    if (
        data.cache_text_encoder_outputs is False
        and view.given("cache_text_encoder_outputs_to_disk")
        and data.cache_text_encoder_outputs_to_disk
    ):
        view.problem("cache_text_encoder_outputs_to_disk", "contradicts cache_text_encoder_outputs = false; leave one out")
    if data.cache_text_encoder_outputs and not view.config.network.network_train_unet_only:
        view.problem(
            "cache_text_encoder_outputs",
            "text encoders that are trained cannot be cached; set network_train_unet_only too, or leave this out",
        )


def parts(view: View) -> None:
    """Which of U-Net and text encoders is trained."""
    network, optimizer = view.config.network, view.config.optimizer
    if network.network_train_unet_only and network.network_train_text_encoder_only:
        message = "with network_train_unet_only nothing is left to train; leave one of the two out"
        view.problem("network_train_text_encoder_only", message)
        return
    if network.network_train_unet_only and optimizer.text_encoder_lr:
        view.notice("text_encoder_lr", "is not used: network_train_unet_only leaves the text encoders as they are")
    if network.network_train_text_encoder_only and optimizer.unet_lr:
        view.notice("unet_lr", "is not used: network_train_text_encoder_only leaves the U-Net as it is")
    if optimizer.text_encoder_lr == 0 and not network.network_train_unet_only:
        view.notice("text_encoder_lr", "is 0, so the text encoders cost time and learn nothing; network_train_unet_only leaves them out")


def continued(view: View) -> None:
    """Continuing from a LoRA file."""
    network = view.config.network
    if network.dim_from_weights and not network.network_weights:
        view.problem("dim_from_weights", "needs network_weights, the file to take dim and alpha from")
    elif network.dim_from_weights:
        for key in ("network_dim", "network_alpha"):
            if view.given(key):
                view.notice(key, "is not used: dim_from_weights takes it from the file")


def rates(view: View) -> None:
    """Warm-up against the schedule and the length."""
    optimizer, training = view.config.optimizer, view.config.training
    if optimizer.lr_scheduler == "constant" and optimizer.lr_warmup_steps:
        view.problem("lr_warmup_steps", "the schedule `constant` has no warm-up; set lr_scheduler to constant_with_warmup, or this to 0")
    elif training.max_train_epochs is None and optimizer.warmup(training.max_train_steps) >= training.max_train_steps:
        view.notice("lr_warmup_steps", f"the warm-up is as long as the run ({training.max_train_steps} steps)")


def length(view: View) -> None:
    """Epochs win over steps; the default is no choice, though the file of a run writes it out too."""
    training = view.config.training
    if training.max_train_epochs is not None and view.given("max_train_steps") and training.max_train_steps != _STEPS:
        view.notice("max_train_steps", "is not used: max_train_epochs says how long the run is")


def timesteps(view: View) -> None:
    """The range of timesteps holds at least one."""
    low, high = view.config.objective.min_timestep, view.config.objective.max_timestep
    if low >= high:
        key = "min_timestep" if view.given("min_timestep") else "max_timestep"
        view.problem(key, f"min_timestep, {low}, must be below max_timestep, {high}; for a single timestep set {low} and {low + 1}")


def prediction(view: View) -> None:
    """Zero terminal SNR goes with v-prediction."""
    model = view.config.model
    if model.zero_terminal_snr and model.v_parameterization is False:
        view.notice("zero_terminal_snr", "goes with v_parameterization; a model that predicts noise learns nothing at the last timestep")


def attention(view: View) -> None:
    """One way to compute attention."""
    training = view.config.training
    if training.xformers and training.sdpa and view.given("sdpa"):
        view.notice("sdpa", "is not used where xformers works, which wins")


def places(view: View) -> None:
    """An empty folder name would scatter a run's files over the current folder."""
    for key, value in (("output_dir", view.config.save.output_dir), ("cache_dir", view.config.data.cache_dir)):
        if not value.strip():
            view.problem(key, "is empty; name a folder, or leave it out")


def saving(view: View) -> None:
    """Keeping the last files needs files in between."""
    save = view.config.save
    for keep, every in (("save_last_n_epochs", "save_every_n_epochs"), ("save_last_n_steps", "save_every_n_steps")):
        if getattr(save, keep) is not None and getattr(save, every) is None:
            view.notice(keep, f"is not used: {every} is not set")


def cadence(view: View) -> None:
    """Sample pictures: prompts and how often."""
    sample = view.config.sample
    if sample.sample_every_n_epochs is not None and sample.sample_every_n_steps is not None:
        view.notice("sample_every_n_steps", "is not used: sample_every_n_epochs wins")
    if sample.sample_prompts is None:
        for key in ("sample_every_n_steps", "sample_every_n_epochs", "sample_at_first"):
            if view.given(key) and getattr(sample, key):
                view.notice(key, "is not used: sample_prompts names no file of prompts")


@dataclass(frozen=True)
class Rule:
    """A check and the keys it reads."""

    check: Callable[[View], None]
    keys: tuple[str, ...]


_PARTS = ("network_train_unet_only", "network_train_text_encoder_only")

RULES: tuple[Rule, ...] = (
    Rule(sizes, SIZE_KEYS),
    Rule(folders, ("train_data_dir", "reg_data_dir", "datasets", "dataset_config")),
    Rule(caches, ("cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", *_PARTS)),
    Rule(parts, (*_PARTS, "text_encoder_lr", "unet_lr")),
    Rule(continued, ("dim_from_weights", "network_weights", "network_dim", "network_alpha")),
    Rule(rates, ("lr_scheduler", "lr_warmup_steps", "max_train_steps", "max_train_epochs")),
    Rule(length, ("max_train_steps", "max_train_epochs")),
    Rule(timesteps, ("min_timestep", "max_timestep")),
    Rule(prediction, ("zero_terminal_snr", "v_parameterization")),
    Rule(attention, ("xformers", "sdpa")),
    Rule(places, ("output_dir", "cache_dir")),
    Rule(saving, ("save_last_n_epochs", "save_every_n_epochs", "save_last_n_steps", "save_every_n_steps")),
    Rule(cadence, ("sample_prompts", "sample_every_n_steps", "sample_every_n_epochs", "sample_at_first")),
)


def run(view: View) -> None:
    """Every rule whose keys could be read."""
    broken = frozenset(view.findings.broken)
    for rule in RULES:
        if not broken.intersection(rule.keys):
            rule.check(view)
