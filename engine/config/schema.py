"""Every setting of a run, section by section. Keys are sd-scripts' own and unique over all sections, so flat files work too.

Each field is a type, a default and a line of help with unit and range; `configs/reference.toml` is generated from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as plain_field

from engine.config.field import Ours, described, setting
from engine.config.schema_data import DataConfig

Arg = bool | float | str | tuple[float, ...] | None  # a value of network_args or optimizer_args, once its row gave it a type


@dataclass(frozen=True)
class ModelConfig:
    """The base model and how its text encoders are read."""

    pretrained_model_name_or_path: str | None = setting(
        None, "base model: a .safetensors or .ckpt file, or a diffusers folder (nothing is downloaded)", kind="path"
    )
    vae: str | None = setting(None, "another VAE: an SD checkpoint, a VAE file, or a diffusers model or VAE folder", kind="path")
    family: str | None = setting(None, "force the model family; left out: recognised from the file", rows="families", ours=True)
    v_parameterization: bool | None = setting(
        None, "the model predicts v; left out: what the file says", sd_default=False, pasted=Ours("what the base model's file says")
    )
    zero_terminal_snr: bool | None = setting(
        None,
        "noise schedule that ends in pure noise; left out: what the file says",
        sd_default=False,
        pasted=Ours("what the base model's file says"),
    )
    clip_skip: int | None = setting(None, "CLIP layer counted from the end, 1-12; SD1 only, 2 for anime models", low=1, high=12)
    max_token_length: int | None = setting(None, "longest caption in tokens; left out: 75", choices=(75, 150, 225))
    no_half_vae: bool = setting(False, "run the VAE in fp32; SDXL's never runs in fp16")


@dataclass(frozen=True)
class NetworkConfig:
    """What is trained: the adapter, its size and where it sits."""

    network_module: str = setting("networks.lora", "training method", rows="methods", sd_default=None, pasted=Ours())
    network_dim: int = setting(32, "rank; file size grows with it (SD1.5 fp16: 32 = 36 MiB)", low=1, sd_default=4)
    network_alpha: float = setting(16.0, "strength is alpha / dim; 0 means alpha = dim", low=0, sd_default=1.0)
    network_dropout: float | None = setting(None, "share of inner activations dropped in training, 0-1", low=0, high=1)
    network_args: dict[str, Arg] = plain_field(
        default_factory=dict, metadata=described('options of the method, `["conv_dim=8", "conv_alpha=4"]`', kind="pairs")
    )
    network_weights: str | None = setting(None, "LoRA file to continue from; its optimizer state is not in it", kind="path")
    dim_from_weights: bool = setting(False, "take dim and alpha from network_weights")
    network_train_unet_only: bool = setting(False, "train the U-Net alone; text is then encoded once")
    network_train_text_encoder_only: bool = setting(False, "train the text encoders alone")
    scale_weight_norms: float | None = setting(None, "largest norm of one layer's change; 1 is usual; 0 = off", off_at_zero=True)


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move: optimizer, learning rates and their course."""

    optimizer_type: str = setting("AdamW", "optimizer", rows="optimizers")
    optimizer_args: dict[str, Arg] = plain_field(
        default_factory=dict, metadata=described('options of the optimizer, `["weight_decay=0.01"]`', kind="pairs")
    )
    learning_rate: float = setting(1e-4, "learning rate; 1 for Prodigy", low=0, sd_default=2e-6)
    unet_lr: float | None = setting(None, "learning rate of the U-Net; left out: learning_rate", low=0)
    text_encoder_lr: float | None = setting(None, "learning rate of the text encoders; left out: learning_rate", low=0, kind="rate")
    max_grad_norm: float = setting(1.0, "gradients longer than this are shortened; 0 = off", low=0)
    lr_scheduler: str = setting("constant", "course of the learning rate", rows="schedulers")
    lr_warmup_steps: float = setting(0, 'warm-up: steps, or a share of all steps (0.05 or "5%")', low=0, kind="share")
    lr_scheduler_num_cycles: int = setting(1, "restarts of cosine_with_restarts", low=1)
    lr_scheduler_power: float = setting(1.0, "exponent of polynomial", low=0)

    def warmup(self, total_steps: int) -> int:
        """`lr_warmup_steps` as a number of steps, where it was a share of `total_steps` too."""
        return round(self.lr_warmup_steps * total_steps) if self.lr_warmup_steps < 1 else round(self.lr_warmup_steps)


@dataclass(frozen=True)
class TrainingConfig:
    """Length, precision and speed."""

    max_train_steps: int = setting(1600, "optimizer steps", low=1)
    max_train_epochs: int | None = setting(None, "passes over the pictures; overrides max_train_steps; 0 = off", off_at_zero=True)
    gradient_accumulation_steps: int = setting(1, "batches gathered before each step", low=1)
    seed: int = setting(42, "equal seeds and settings give equal results", low=0, high=2**32 - 1, sd_default=None, pasted=Ours())
    mixed_precision: str | None = setting(
        None,
        "number format of the frozen model; left out: the best the device has",
        choices=("no", "fp16", "bf16"),
        sd_default="no",
        pasted=Ours("the best the device has"),
    )
    gradient_checkpointing: bool = setting(False, "compute activations again in the backward pass: much less memory, about 30 % slower")
    xformers: bool = setting(False, "attention by the xformers package; wins over sdpa")
    sdpa: bool = setting(True, "attention by PyTorch's fused kernels", sd_default=False, pasted=Ours())
    device: str | None = setting(None, "where to train: cpu, cuda or cuda:<number>; left out: the GPU, if any", kind="device", ours=True)


@dataclass(frozen=True)
class ObjectiveConfig:
    """Noise, timesteps and loss."""

    loss_type: str = setting("l2", "distance between prediction and target", choices=("l2",))
    min_snr_gamma: float | None = setting(None, "cap the weight of easy timesteps; 5 is usual; 0 = off", off_at_zero=True)
    debiased_estimation_loss: bool = setting(False, "weight timesteps by 1/sqrt(SNR); v-prediction: 1/(SNR+1)")
    noise_offset: float | None = setting(
        None, "shift the noise of whole channels, for darker and brighter pictures; 0.05-0.1; 0 = off", low=0, high=1, off_at_zero=True
    )
    min_timestep: int = setting(0, "first timestep trained, 0-999", low=0, high=999)
    max_timestep: int = setting(1000, "end of the timesteps trained (not included), 1-1000", low=1, high=1000)


@dataclass(frozen=True)
class SaveConfig:
    """The file that comes out, and how often."""

    output_dir: str = setting("output", "folder of everything a run writes", kind="path", sd_default=None, pasted=Ours())
    output_name: str | None = setting(None, "name of the LoRA file; left out: from the picture folder")
    save_precision: str | None = setting(
        "fp16", "number format in the file; empty: as trained (fp32)", choices=("float", "fp16", "bf16"), sd_default=None
    )
    save_model_as: str = setting("safetensors", "file format", choices=("safetensors",))
    save_every_n_epochs: int | None = setting(None, "save each n epochs; 0 = off", off_at_zero=True)
    save_every_n_steps: int | None = setting(None, "save each n steps; 0 = off", off_at_zero=True)
    save_last_n_epochs: int | None = setting(None, "keep the files of the last n epochs; 0 = all", off_at_zero=True)
    save_last_n_steps: int | None = setting(
        None, "keep the files of the last n steps (a number of steps, not of files); 0 = all", off_at_zero=True
    )
    no_metadata: bool = setting(False, "write only the metadata that other programs need")
    training_comment: str | None = setting(None, "your note, written into the file")
    metadata_title: str | None = setting(None, "title in the file; left out: output_name")
    metadata_author: str | None = setting(None, "author in the file")
    metadata_description: str | None = setting(None, "description in the file")
    metadata_license: str | None = setting(None, "licence in the file")
    metadata_tags: str | None = setting(None, "tags in the file, separated by commas")


@dataclass(frozen=True)
class SampleConfig:
    """Pictures made while training."""

    sample_prompts: str | None = setting(None, "prompt file, a prompt a line with --n --w --h --d --l --s", kind="path")
    sample_every_n_steps: int | None = setting(None, "each n steps; 0 = off", off_at_zero=True)
    sample_every_n_epochs: int | None = setting(None, "each n epochs, wins over steps; 0 = off", off_at_zero=True)
    sample_at_first: bool = setting(False, "also before the first step")
    sample_sampler: str = setting("euler_a", "sampler of prompts that name none", rows="samplers", sd_default="ddim")
    sample_karras: bool = setting(False, "Karras spacing of the noise levels", ours=True)


@dataclass(frozen=True)
class LogConfig:
    """What is written about the course of a run."""

    logging_dir: str | None = setting("logs", "folder of TensorBoard logs; empty: none", kind="path", sd_default=None, pasted=Ours())
    log_with: str | None = setting("tensorboard", "log format", choices=("tensorboard",), sd_default=None, pasted=Ours())
    log_prefix: str | None = setting(None, "put before the name of the log folder")
    log_every_n_steps: int = setting(10, "steps between two readings of loss and norms", low=1, ours=True)
    console_log_simple: bool = setting(False, "plain lines instead of the live view")


@dataclass(frozen=True)
class Config:
    """A whole run, resolved: every key has its final value."""

    model: ModelConfig = plain_field(default_factory=ModelConfig)
    data: DataConfig = plain_field(default_factory=DataConfig)
    network: NetworkConfig = plain_field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = plain_field(default_factory=OptimizerConfig)
    training: TrainingConfig = plain_field(default_factory=TrainingConfig)
    objective: ObjectiveConfig = plain_field(default_factory=ObjectiveConfig)
    save: SaveConfig = plain_field(default_factory=SaveConfig)
    sample: SampleConfig = plain_field(default_factory=SampleConfig)
    log: LogConfig = plain_field(default_factory=LogConfig)
