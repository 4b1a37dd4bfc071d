"""Every option of sd-scripts' LoRA training, with its state here. These are the options of train_network.py and sdxl_train_network.py.

A key that is in none of these states is unknown, which is an error. A value can mean that the option is off: false, 0, an empty text or
list, and what its row adds. Such a value is accepted in every state, since the files that other front ends write are full of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.problems import Findings, Origin

WORKS = "works"
NO_EFFECT = "no effect here"
NOT_YET = "not yet"
NEVER = "never"


@dataclass(frozen=True)
class Option:
    """One option. `says` completes the message of its state.

    `inert`: further values that leave it off, as text. `only_with`: the option it belongs to; without that one it has no effect.
    `same_as`: the key this old name stands for; `value`: the value it gives that key when it is switched on. `foreign`: train_network.py
    has no such option, only another trainer or a front end.
    """

    name: str
    state: str
    says: str = ""
    inert: tuple[str, ...] = ()
    only_with: str = ""
    same_as: str = ""
    value: str = ""
    foreign: bool = False

    def asks(self, raw: object) -> bool:
        """Whether `raw` asks for what the option does. `()` is an option of the command line without a value."""
        if self.only_with:
            return False
        if isinstance(raw, list | dict):
            return bool(raw)
        return raw == () or str(raw).strip().lower() not in (*_NOTHING, *self.inert)


_NOTHING = ("", "0", "0.0", "false", "none", "null")


def _rows(state: str, says: str, names: str, *, foreign: bool = False) -> tuple[Option, ...]:
    return tuple(Option(name, state, says, foreign=foreign) for name in names.split())


def _belongs(owner: str, state: str, names: str) -> tuple[Option, ...]:
    return tuple(Option(name, state, only_with=owner) for name in names.split())


def _works(names: str) -> tuple[Option, ...]:
    return _rows(WORKS, "", names)


_STATE = "`network_weights` continues from a LoRA file, with a fresh optimizer"
_FUSED = "it belongs to full training"
_HALF = "the adapter stays fp32, the frozen model takes mixed_precision"
_MEMORY = "gradient_checkpointing saves memory too"
_OTHER_FAMILY = "it belongs to other model families"
_OTHER_TRAINER = "it belongs to another trainer; LoRA training has text_encoder_lr and network_train_unet_only"
_MASKS = "the whole picture is trained"
_HUB = "nothing is sent to or fetched from a hub while training; move files yourself before or after"
NO_SERVER = "a run talks to no server; its logs are TensorBoard files in `logging_dir`"

RUN_OPTIONS: tuple[Option, ...] = (
    # model
    *_works("pretrained_model_name_or_path vae v_parameterization clip_skip max_token_length no_half_vae zero_terminal_snr"),
    Option("v2", NOT_YET, "the families are SD 1.x and SDXL"),
    Option("tokenizer_cache_dir", NO_EFFECT, "the tokenizer comes with the program"),
    Option("disable_mmap_load_safetensors", NO_EFFECT, "no file is kept mapped"),
    Option("weighted_captions", NOT_YET, "captions are taken as they are written"),
    # files of settings
    *_works("config_file dataset_config"),
    Option("output_config", NEVER, "`python -m engine config` prints the settings; each run folder holds them as a file"),
    Option("dataset_class", NEVER, "it would run code named by a setting"),
    # pictures
    *_works("train_data_dir reg_data_dir resolution train_batch_size dataset_repeats prior_loss_weight resize_interpolation"),
    *_works("enable_bucket min_bucket_reso max_bucket_reso bucket_reso_steps bucket_no_upscale flip_aug"),
    *_works("cache_latents cache_latents_to_disk vae_batch_size"),
    *_works("cache_text_encoder_outputs cache_text_encoder_outputs_to_disk text_encoder_batch_size"),
    Option("in_json", NOT_YET, "write caption files beside the pictures"),
    Option("color_aug", NOT_YET),
    Option("random_crop", NOT_YET, "crops are centred"),
    Option("face_crop_aug_range", NOT_YET, "crops are centred"),
    Option("alpha_mask", NOT_YET, _MASKS),
    Option("masked_loss", NOT_YET, _MASKS),
    Option("conditioning_data_dir", NOT_YET, "masks and control pictures cannot be read"),
    Option("cache_info", NO_EFFECT, "sizes and captions are indexed in `cache_dir` anyway, and checked against the files"),
    Option("skip_cache_check", NO_EFFECT, "the cache goes by content, so that it is never stale"),
    Option("debug_dataset", NEVER, "`python -m engine check` shows the pictures as the trainer sees them"),
    # captions
    *_works("caption_extension shuffle_caption keep_tokens keep_tokens_separator caption_separator secondary_separator"),
    *_works("enable_wildcard caption_prefix caption_suffix caption_dropout_rate caption_dropout_every_n_epochs"),
    *_works("caption_tag_dropout_rate token_warmup_min token_warmup_step"),
    Option("caption_extention", WORKS, same_as="caption_extension"),
    # validation
    Option("validation_split", NOT_YET, "all pictures are trained"),
    *_belongs("validation_split", NOT_YET, "validation_seed validate_every_n_steps validate_every_n_epochs max_validation_steps"),
    # network
    *_works("network_module network_dim network_alpha network_dropout network_args network_weights dim_from_weights"),
    *_works("network_train_unet_only network_train_text_encoder_only scale_weight_norms"),
    Option("base_weights", NOT_YET, "merge them into the base model first"),
    Option("base_weights_multiplier", NOT_YET, only_with="base_weights"),
    # optimizer
    *_works("optimizer_type optimizer_args learning_rate unet_lr text_encoder_lr max_grad_norm"),
    *_works("lr_scheduler lr_warmup_steps lr_scheduler_num_cycles lr_scheduler_power"),
    Option("use_8bit_adam", WORKS, same_as="optimizer_type", value="AdamW8bit"),
    Option("use_lion_optimizer", WORKS, same_as="optimizer_type", value="Lion"),
    Option("lr_scheduler_type", NOT_YET, "use `lr_scheduler`"),
    Option("lr_scheduler_args", NOT_YET, only_with="lr_scheduler_type"),
    Option("lr_scheduler_timescale", NOT_YET, only_with="the schedule inverse_sqrt"),
    Option("lr_scheduler_min_lr_ratio", NOT_YET, only_with="the schedules cosine_with_min_lr and warmup_stable_decay"),
    Option("lr_decay_steps", NOT_YET, only_with="the schedule warmup_stable_decay"),
    Option("fused_backward_pass", NOT_YET, _FUSED),
    Option("fused_optimizer_groups", NOT_YET, _FUSED),
    Option("blockwise_fused_optimizers", NOT_YET, _OTHER_FAMILY),
    # length
    *_works("max_train_steps max_train_epochs gradient_accumulation_steps seed"),
    Option("initial_epoch", NOT_YET, _STATE, inert=("1",)),
    Option("initial_step", NOT_YET, _STATE),
    Option("skip_until_initial_step", NOT_YET, only_with="initial_step and initial_epoch"),
    # precision, memory and speed
    *_works("mixed_precision gradient_checkpointing xformers sdpa"),
    Option("full_fp16", NOT_YET, _HALF),
    Option("full_bf16", NOT_YET, _HALF),
    Option("fp8_base", NOT_YET, _MEMORY),
    Option("fp8_base_unet", NOT_YET, _MEMORY),
    Option("fp8_scaled", NOT_YET, _OTHER_FAMILY),
    Option("mem_eff_attn", NO_EFFECT, "attention already runs in PyTorch's memory-saving kernels"),
    Option("attn_mode", NO_EFFECT, "choose with `sdpa` or `xformers`"),
    Option("split_attn", NO_EFFECT, "attention already runs in PyTorch's memory-saving kernels"),
    Option("cpu_offload_checkpointing", NOT_YET, _MEMORY),
    Option("unsloth_offload_checkpointing", NOT_YET, _MEMORY),
    Option("blocks_to_swap", NOT_YET, _MEMORY),
    Option("torch_compile", NOT_YET),
    Option("dynamo_backend", NOT_YET, only_with="torch_compile"),
    Option("lowram", NO_EFFECT, "the model is always read part by part, straight to the device"),
    Option("highvram", NO_EFFECT, "memory is not cleared between batches anyway"),
    Option("mem_eff_save", NO_EFFECT, "files are always written tensor by tensor"),
    Option("max_data_loader_n_workers", NO_EFFECT, "pictures are read by threads, of which there are enough"),
    Option("persistent_data_loader_workers", NO_EFFECT, "pictures are read by threads that stay"),
    Option("ddp_timeout", NO_EFFECT, "one process trains"),
    Option("ddp_gradient_as_bucket_view", NO_EFFECT, "one process trains"),
    Option("ddp_static_graph", NO_EFFECT, "one process trains"),
    Option("deepspeed", NOT_YET),
    *_belongs("deepspeed", NOT_YET, "zero_stage offload_optimizer_device offload_optimizer_nvme_path offload_param_device"),
    *_belongs("deepspeed", NOT_YET, "offload_param_nvme_path zero3_init_flag zero3_save_16bit_model fp16_master_weights_and_gradients"),
    # noise and loss
    *_works("min_timestep max_timestep noise_offset min_snr_gamma debiased_estimation_loss loss_type"),
    Option("noise_offset_random_strength", NOT_YET),
    Option("adaptive_noise_scale", NOT_YET),
    Option("multires_noise_iterations", NOT_YET),
    Option("multires_noise_discount", NOT_YET, only_with="multires_noise_iterations"),
    Option("ip_noise_gamma", NOT_YET),
    Option("ip_noise_gamma_random_strength", NOT_YET, only_with="ip_noise_gamma"),
    Option("scale_v_pred_loss_like_noise_pred", NOT_YET),
    Option("v_pred_like_loss", NOT_YET),
    *_belongs("the losses huber and smooth_l1", NOT_YET, "huber_schedule huber_c huber_scale"),
    # saving
    *_works("output_dir output_name save_precision save_model_as save_every_n_epochs save_every_n_steps"),
    *_works("save_last_n_epochs save_last_n_steps no_metadata training_comment"),
    *_works("metadata_title metadata_author metadata_description metadata_license metadata_tags"),
    *_rows(NOT_YET, "", "metadata_usage_hint metadata_thumbnail metadata_merged_from"),
    *_rows(NOT_YET, "", "metadata_trigger_phrase metadata_preprocessor metadata_is_negative_embedding"),
    Option("save_n_epoch_ratio", NOT_YET, "use `save_every_n_epochs`"),
    Option("save_state", NOT_YET, _STATE),
    Option("save_state_on_train_end", NOT_YET, _STATE),
    Option("save_last_n_epochs_state", NOT_YET, only_with="save_state"),
    Option("save_last_n_steps_state", NOT_YET, only_with="save_state"),
    Option("resume", NOT_YET, _STATE),
    *_rows(NEVER, _HUB, "huggingface_repo_id save_state_to_huggingface resume_from_huggingface"),
    *_belongs("huggingface_repo_id", NEVER, "huggingface_repo_type huggingface_path_in_repo huggingface_token"),
    *_belongs("huggingface_repo_id", NEVER, "huggingface_repo_visibility async_upload"),
    # sample pictures
    *_works("sample_prompts sample_every_n_steps sample_every_n_epochs sample_at_first sample_sampler"),
    # logs
    *_works("logging_dir log_with log_prefix console_log_simple"),
    Option("log_tracker_name", NO_EFFECT, "logs are named by `log_prefix` and the run"),
    Option("log_tracker_config", NO_EFFECT, "TensorBoard logs need no configuration"),
    Option("log_config", NO_EFFECT, "each run folder holds the settings as a file"),
    Option("console_log_level", NO_EFFECT, "every message is shown"),
    Option("console_log_file", NOT_YET, "redirect the output of the command"),
    *_belongs("log_with = wandb", NEVER, "wandb_api_key wandb_run_name"),
    # what sd-scripts ignores and the files of its kohya_ss front end contain
    *_rows(NO_EFFECT, "sd-scripts has no such option", "epoch noise_offset_type", foreign=True),
    # other trainers of sd-scripts
    *_rows(NOT_YET, _OTHER_TRAINER, "train_text_encoder learning_rate_te learning_rate_te1 learning_rate_te2 block_lr", foreign=True),
    *_rows(NOT_YET, _OTHER_TRAINER, "stop_text_encoder_training no_token_padding diffusers_xformers", foreign=True),
    *_rows(NOT_YET, "it belongs to textual inversion", "token_string init_word num_vectors_per_token weights", foreign=True),
    *_rows(NOT_YET, "it belongs to textual inversion", "use_object_template use_style_template", foreign=True),
    *_rows(NOT_YET, "it belongs to ControlNet training", "controlnet_model_name_or_path control_net_lr cond_emb_dim", foreign=True),
)

DATASET_OPTIONS: tuple[Option, ...] = (
    # keys of a whole dataset
    *_works("batch_size resolution enable_bucket min_bucket_reso max_bucket_reso bucket_reso_steps bucket_no_upscale"),
    *_works("resize_interpolation"),
    Option("network_multiplier", NOT_YET, inert=("1", "1.0")),
    Option("validation_split", NOT_YET, "all pictures are trained"),
    Option("validation_seed", NOT_YET, only_with="validation_split"),
    # keys of a folder
    *_works("image_dir num_repeats class_tokens is_reg caption_extension shuffle_caption keep_tokens keep_tokens_separator"),
    *_works("caption_separator secondary_separator enable_wildcard caption_prefix caption_suffix caption_dropout_rate"),
    *_works("caption_dropout_every_n_epochs caption_tag_dropout_rate token_warmup_min token_warmup_step flip_aug"),
    Option("cache_info", NO_EFFECT, "sizes and captions are indexed in `cache_dir` anyway, and checked against the files"),
    Option("metadata_file", NOT_YET, "write caption files beside the pictures"),
    Option("conditioning_data_dir", NOT_YET, "masks and control pictures cannot be read"),
    Option("alpha_mask", NOT_YET, _MASKS),
    Option("color_aug", NOT_YET),
    Option("face_crop_aug_range", NOT_YET, "crops are centred"),
    Option("random_crop", NOT_YET, "crops are centred"),
    Option("custom_attributes", NOT_YET),
)

# Values that sd-scripts knows and that are not available yet, by key. A name that a registry lists needs no row.
VALUES_NOT_YET: dict[str, str] = {
    "network_module": (
        "networks.lora_fa networks.dylora networks.oft networks.lokr networks.lora_flux networks.lora_sd3 "
        "networks.lora_lumina networks.lora_hunyuan_image networks.lora_anima networks.oft_flux"
    ),
    "optimizer_type": (
        "PagedAdamW PagedAdamW8bit PagedAdamW32bit Lion8bit PagedLion8bit SGDNesterov SGDNesterov8bit SGD RAdam NAdam DAdaptation "
        "DAdaptAdamPreprint DAdaptAdaGrad DAdaptAdam DAdaptAdan DAdaptAdanIP DAdaptLion DAdaptSGD RAdamScheduleFree AdamWScheduleFree "
        "SGDScheduleFree bitsandbytes.optim.AdEMAMix8bit pytorch_optimizer.CAME prodigyplus.ProdigyPlusScheduleFree"
    ),
    "lr_scheduler": "inverse_sqrt cosine_with_min_lr warmup_stable_decay piecewise_constant adafactor",
    "loss_type": "l1 huber smooth_l1",
}

# What to say besides of such a value, by key and the value in small letters.
_D_ADAPTATION = (
    "Prodigy is its successor. Both find the rate themselves and want lr, unet_lr and text_encoder_lr to be 1 and the schedule constant, "
    "which lora-scripts-windows set without a word, with the optimizer_args weight_decay=0.01 and betas=0.9,0.99"
)
VALUES_ADVICE: dict[str, dict[str, str]] = {
    "optimizer_type": {name.lower(): _D_ADAPTATION for name in VALUES_NOT_YET["optimizer_type"].split() if name.startswith("DAdapt")},
}

_PICKLE = "such a file can run code when it is opened; every program reads .safetensors"

# Values that are refused for good, with the reason.
VALUES_NEVER: dict[str, dict[str, str]] = {
    "save_model_as": {"ckpt": _PICKLE, "pt": _PICKLE},
    "log_with": {"wandb": NO_SERVER, "all": NO_SERVER},
}

# network_args of sd-scripts' networks and of LyCORIS that do not work yet. Those that work are the options of the method's row.
NETWORK_ARGS: tuple[Option, ...] = (
    *_rows(NOT_YET, "", "block_dims conv_block_dims"),
    Option("block_alphas", NOT_YET, only_with="block_dims"),
    Option("conv_block_alphas", NOT_YET, only_with="conv_block_dims"),
    *_rows(NOT_YET, "", "down_lr_weight mid_lr_weight up_lr_weight"),
    Option("block_lr_zero_threshold", NOT_YET, only_with="down_lr_weight, mid_lr_weight and up_lr_weight"),
    *_rows(NOT_YET, "", "network_reg_dims network_reg_lrs include_patterns exclude_patterns"),
    *_rows(NOT_YET, "", "use_tucker use_cp use_conv_cp use_scalar train_norm dora_wd rs_lora"),
    Option("wd_on_output", NOT_YET, only_with="dora_wd"),
    *_belongs("algo = lokr", NOT_YET, "factor decompose_both full_matrix unbalanced_factorization"),
    *_belongs("algo = diag-oft", NOT_YET, "constraint rescaled"),
    Option("block_size", NOT_YET, only_with="algo = dylora"),
    *_belongs("other model families", NOT_YET, "train_t5xxl train_llm_adapter"),
    Option("disable_conv_cp", NO_EFFECT, "convolutions never get Tucker factors"),  # LyCORIS takes any text for true, `false` too
    Option("bypass_mode", NO_EFFECT, "a change is always applied beside its layer"),
)

# Their values that do not work yet, by name.
ARG_VALUES_NOT_YET: dict[str, str] = {"algo": "lokr ia3 dylora glora full diag-oft boft", "preset": "ia3"}

# How many words an option of the command line takes that does not work here: one, but for these. Of the others the schema's types say it.
_SWITCHES = (
    "v2 disable_mmap_load_safetensors weighted_captions output_config color_aug random_crop alpha_mask masked_loss cache_info "
    "skip_cache_check debug_dataset fused_backward_pass blockwise_fused_optimizers skip_until_initial_step full_fp16 full_bf16 "
    "fp8_base fp8_base_unet fp8_scaled mem_eff_attn split_attn cpu_offload_checkpointing unsloth_offload_checkpointing torch_compile "
    "lowram highvram mem_eff_save persistent_data_loader_workers ddp_gradient_as_bucket_view ddp_static_graph deepspeed zero3_init_flag "
    "zero3_save_16bit_model fp16_master_weights_and_gradients noise_offset_random_strength ip_noise_gamma_random_strength "
    "scale_v_pred_loss_like_noise_pred save_state save_state_on_train_end save_state_to_huggingface resume_from_huggingface "
    "async_upload log_config train_text_encoder no_token_padding diffusers_xformers use_object_template use_style_template"
)
SWITCHES = frozenset(_SWITCHES.split())
LISTS = frozenset(("base_weights", "base_weights_multiplier", "lr_scheduler_args"))

RUN: dict[str, Option] = {option.name: option for option in RUN_OPTIONS}
DATASET: dict[str, Option] = {option.name: option for option in DATASET_OPTIONS}
SOURCES = ("config_file", "dataset_config")  # they name files of settings and are no settings themselves


def judge(option: Option, origin: Origin, findings: Findings) -> None:
    """Say what an option that does not work means for the run: a notice where it has no effect, else a problem."""
    if option.state == NO_EFFECT:
        findings.notice(origin, option.name, f"has no effect here; {option.says}")
    elif option.state == NOT_YET:
        findings.problem(origin, option.name, f"is not available yet; {option.says or 'leave it out'}")
    elif option.state == NEVER:
        findings.problem(origin, option.name, f"is not supported; {option.says}")
