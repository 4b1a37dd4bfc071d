"""The scripts of sd-scripts, with what stands for each here.

These are those that a user starts, in sd-scripts 0.9 to 0.11. The table of docs/roadmap.md is this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PureWindowsPath

LORA = ("train_network.py", "sdxl_train_network.py")  # the scripts whose command lines are read


@dataclass(frozen=True)
class ScriptRow:
    """Scripts, by their paths in sd-scripts' folder, and what docs/roadmap.md says of them."""

    scripts: str
    here: str

    @property
    def names(self) -> tuple[str, ...]:
        """Each script."""
        return tuple(self.scripts.split())


SCRIPTS: tuple[ScriptRow, ...] = (
    ScriptRow("train_network.py sdxl_train_network.py", "`train`"),
    ScriptRow("tools/cache_latents.py tools/cache_text_encoder_outputs.py", "`cache`"),
    ScriptRow(
        "gen_img.py gen_img_diffusers.py sdxl_gen_img.py sdxl_minimal_inference.py",
        "`sample`, which makes previews: no high-resolution pass, no ControlNet",
    ),
    ScriptRow("tools/show_metadata.py", "`inspect`"),
    ScriptRow("finetune/tag_images_by_wd14_tagger.py", "`tag`"),
    ScriptRow("networks/check_lora_weights.py", "not yet; `inspect` shows names, shapes and alphas, no statistics"),
    ScriptRow("train_textual_inversion.py sdxl_train_textual_inversion.py train_textual_inversion_XTI.py", "not yet: textual inversion"),
    ScriptRow("train_db.py fine_tune.py sdxl_train.py", "not yet: DreamBooth and full fine-tuning"),
    ScriptRow(
        "train_controlnet.py train_control_net.py sdxl_train_control_net.py sdxl_train_control_net_lllite.py "
        "sdxl_train_control_net_lllite_old.py",
        "not yet: ControlNet",
    ),
    ScriptRow("train_leco.py sdxl_train_leco.py", "not yet: a LoRA that moves a concept without pictures"),
    ScriptRow(
        "flux_train.py flux_train_network.py flux_train_control_net.py sd3_train.py sd3_train_network.py lumina_train.py "
        "lumina_train_network.py hunyuan_image_train_network.py anima_train.py anima_train_network.py",
        "not yet: other model families",
    ),
    ScriptRow(
        "flux_minimal_inference.py sd3_minimal_inference.py lumina_minimal_inference.py hunyuan_image_minimal_inference.py "
        "anima_minimal_inference.py",
        "not yet: other model families",
    ),
    ScriptRow("finetune/make_captions.py", "`caption`"),
    ScriptRow("finetune/make_captions_by_git.py", "not planned: `caption` has newer models"),
    ScriptRow("finetune/clean_captions_and_tags.py", "`captions clean`, by rules that may be edited"),
    ScriptRow("finetune/merge_captions_to_metadata.py finetune/merge_dd_tags_to_metadata.py", "not yet: captions in metadata files"),
    ScriptRow("finetune/prepare_buckets_latents.py", "not needed: `cache` finds buckets and encodes pictures"),
    ScriptRow("finetune/hypernetwork_nai.py", "not planned"),
    ScriptRow(
        "networks/merge_lora.py networks/sdxl_merge_lora.py networks/svd_merge_lora.py networks/resize_lora.py "
        "networks/extract_lora_from_models.py networks/extract_lora_from_dylora.py",
        "not yet: LoRA files merged, resized, extracted",
    ),
    ScriptRow("networks/lora_interrogator.py networks/lora_diffusers.py", "not planned"),
    ScriptRow(
        "networks/flux_merge_lora.py networks/flux_extract_lora.py networks/convert_flux_lora.py "
        "networks/convert_anima_lora_to_comfy.py networks/convert_hunyuan_image_lora_to_comfy.py",
        "not yet: other model families",
    ),
    ScriptRow("tools/merge_models.py tools/convert_diffusers20_original_sd.py", "not yet: whole models merged or converted"),
    ScriptRow("tools/convert_diffusers_to_flux.py tools/merge_sd3_safetensors.py", "not yet: other model families"),
    ScriptRow("tools/resize_images_to_resolution.py", "not needed: pictures go into the bucket of their shape"),
    ScriptRow("tools/canny.py tools/detect_face_rotate.py tools/latent_upscaler.py", "not planned"),
)

_LINES = f"A line of {' or '.join(LORA)} can be pasted"


def refusal(script: str) -> str:
    """Why the command line of a script is not read; empty where it is. `script` is a file name or a path, in the form of any system."""
    known = {PureWindowsPath(name).name: row for row in SCRIPTS for name in row.names}
    name = PureWindowsPath(script).name.lower()
    if name in LORA:
        return ""
    row = next((row for file, row in known.items() if file.lower() == name), None)
    if row is None:
        return f"is no script of sd-scripts that is known here. {_LINES}"
    return f"is another script of sd-scripts; docs/roadmap.md says of it: {row.here}. {_LINES}"
