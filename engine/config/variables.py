"""Every variable of the front scripts that is no plain setting. A plain one has a setting's name and meaning. Each has its state.

Names and meanings are those of lora-scripts and lora-scripts-windows. A variable that is neither in this table, nor a setting, nor an
option of sd-scripts or of the command is the user's own where the script reads it again, and a mistake otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.config import options
from engine.config.options import NEVER, NO_EFFECT, NOT_YET, WORKS, Option

TRAINING = ("train", "check", "cache")  # the commands whose scripts take over what lora-scripts set without a variable


@dataclass(frozen=True)
class Variable:
    """One variable of `train.ps1` and its like.

    `key` is the setting that it gives its value to; `switch` the variable that must be on for it to count, where the script has that one.
    `words` are values that mean others, "" being none. `says` and `inert` are those of an `Option`.
    """

    name: str
    state: str = WORKS
    key: str = ""
    says: str = ""
    switch: str = ""
    words: tuple[tuple[str, str], ...] = ()
    inert: tuple[str, ...] = ()

    @property
    def option(self) -> Option:
        """The variable as a row of the option table, for a state other than works."""
        return Option(self.name, self.state, self.says, self.inert, only_with=self.switch)


def _renamed(pairs: str, switch: str = "") -> tuple[Variable, ...]:
    return tuple(Variable(name, key=key, switch=switch) for name, _, key in (pair.partition("=") for pair in pairs.split()))


def _belongs(switch: str, state: str, names: str) -> tuple[Variable, ...]:
    return tuple(Variable(name, state, switch=switch) for name in names.split())


_SAMPLES = "output_sample"  # the switch of the sample pictures
_CONV = "enable_locon_train"  # the switch of the 3x3 convolutions
_LYCORIS = "enable_lycoris_train"  # the switch of LyCORIS
SWITCHES = ("random_seed", _SAMPLES, _CONV, _LYCORIS)  # true or false; a setting that is one knows it by its type
LYCORIS = ("lycoris.kohya", "lycoris")  # the switch sets the first; either takes `algo`, `dropout`, `conv_dim` and `conv_alpha`

VARIABLES: tuple[Variable, ...] = (
    *_renamed("pretrained_model=pretrained_model_name_or_path batch_size=train_batch_size max_train_epoches=max_train_epochs"),
    *_renamed("train_unet_only=network_train_unet_only train_text_encoder_only=network_train_text_encoder_only"),
    *_renamed("lr=learning_rate lr_restart_cycles=lr_scheduler_num_cycles use_lion=use_lion_optimizer"),
    Variable("parameterization", key="v_parameterization", words=(("0", ""), ("false", ""))),
    Variable("is_v2_model", NOT_YET, says=options.RUN["v2"].says),
    Variable("model_type", NO_EFFECT, says="the model's family is recognised from its file", inert=("sd1.5", "sdxl")),
    Variable("sdxl", NO_EFFECT, says="the model's family is recognised from its file", inert=("1", "true")),
    Variable("random_seed", key="seed"),
    Variable("config_file"),
    # sample pictures while training
    Variable("output_sample"),
    *_renamed("sampler=sample_sampler prompt_file=sample_prompts", _SAMPLES),
    *_renamed("sample_prompts=sample_prompts sample_sampler=sample_sampler sample_karras=sample_karras", _SAMPLES),
    *_renamed("sample_every_n_epochs=sample_every_n_epochs sample_every_n_steps=sample_every_n_steps", _SAMPLES),
    *_renamed("sample_at_first=sample_at_first", _SAMPLES),
    # other ways to train a layer
    Variable(_CONV, key="network_args"),
    Variable("conv_dim", key="network_args", switch=_CONV),
    Variable("conv_alpha", key="network_args", switch=_CONV),
    Variable(_LYCORIS, key="network_module"),
    Variable("algo", key="network_args", switch=_LYCORIS, inert=("lora",)),
    Variable("dropout", key="network_args", switch=_LYCORIS),
    Variable("block_weight_lr", NOT_YET, says="all blocks learn at the same rate"),
    *_belongs("block_weight_lr", NOT_YET, "down_lr_weight mid_lr_weight up_lr_weight"),
    Variable("block_weight_dim", NOT_YET, says="all blocks have network_dim"),
    *_belongs("block_weight_dim", NOT_YET, "block_dims block_alphas"),
    # the machine, and what is written
    Variable("multi_gpu", NOT_YET, says="one process trains; `$device` chooses the card"),
    Variable("log_as_outputname", NO_EFFECT, says="the logs of a run are always named after it"),
    Variable("use_wandb", NEVER, says=options.NO_SERVER),
    *_belongs("use_wandb", NEVER, "wandb_api_key log_tracker_name"),
)

BY_NAME: dict[str, Variable] = {variable.name: variable for variable in VARIABLES}

# What train.ps1 of lora-scripts and of lora-scripts-windows always passed on, having no variable for it; where a script lacks the variable.
ALWAYS: tuple[tuple[str, object], ...] = (("seed", 1337), ("max_token_length", 225), ("shuffle_caption", True))
# ... and what is left to the engine instead, which is said.
INSTEAD: tuple[tuple[str, str], ...] = (
    ("xformers", "attention runs in PyTorch's own kernels; lora-scripts asked for xformers, which computes the same"),
    ("mixed_precision", "the best number format of this device is used; lora-scripts trained in fp16"),
)
