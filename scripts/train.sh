#!/usr/bin/env bash
# Sets up what is missing, then trains. As it is: the demo. With flags: whatever `python -m engine train` takes, for example
#   bash scripts/train.sh --max_train_epochs 1
#   bash scripts/train.sh --config configs/sd15_lora.toml --pretrained_model_name_or_path models/base.safetensors
#   bash scripts/train.sh accelerate launch train_network.py ...    (a whole command line of sd-scripts)
# Paths are read from the product's folder, wherever this is called from.

set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt

for flag in "$@"; do  # a run of the user's own takes nothing from the demo
    case "$flag" in
        --config | --config=* | --config_file | --config_file=* | *.py | -h | --help) exec "${python[@]}" -m engine train "$@" ;;
    esac
done
exec "${python[@]}" -m engine train --config=configs/demo.toml "$@"  # with the sign, so that a bare word behind it is not taken for its value
