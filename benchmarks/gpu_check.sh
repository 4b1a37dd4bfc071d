#!/usr/bin/env bash
# All that needs an NVIDIA card, one part after the other, in 8 minutes at most. A line of JSON a part is appended to one file, so that what
# was done is there where it is stopped.
#
#   bash benchmarks/gpu_check.sh                                 with the packages that are there
#   bash benchmarks/gpu_check.sh FOLDER                          with the wheels in that folder before them
#   bash benchmarks/gpu_check.sh --out results.jsonl FOLDER      the file; left out: gpu_check.jsonl in $OUT, or in this folder
#   bash benchmarks/gpu_check.sh --pretend                       on a pretended card and the small built-in models, which shows that it runs
#
# Runs on Python 3.10 to 3.12 (PYTHON=/path/to/python3, else python3) and on torch 2.11 or newer as they are found. Nothing is downloaded.
# Beside torch and transformers, and what these bring (numpy, tokenizers, safetensors, huggingface_hub, regex, PyYAML, rich, certifi, idna, ...),
# these are needed, in the versions of requirements.txt and requirements-dev.txt, as wheels where the machine lacks them:
#   absl-py accelerate charset-normalizer diffusers importlib-metadata iniconfig lion-pytorch markdown pillow pluggy prodigyopt protobuf psutil
#   pytest requests tensorboard urllib3 werkzeug zipp
# For Python 3.12 on Linux they take 19.9 MiB (13.3 without Pillow's), the tree 42.2. On a machine with the network, NAMES being those above:
#   grep -hE "^(NAMES)==" requirements.txt requirements-dev.txt >needed.txt       # with | between the names
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
#       --platform manylinux2010_x86_64 -d FOLDER -r needed.txt
# Where both together may take 60 MiB, Pillow must be there already. The first part names whatever is missing.
# Without SciPy the sampler `lms` is left out; without bitsandbytes the optimizer AdamW8bit.

set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

out="${OUT:-$PWD}/gpu_check.jsonl"
wheels=""
options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --out) out="$2"; shift ;;
        --pretend) options+=(--pretend) ;;
        -*) printf 'error: %s is no option of this script\nhint: see its head\n' "$1" >&2; exit 2 ;;
        *) wheels="$1" ;;
    esac
    shift
done

python="${PYTHON:-python3}"
packages="$PWD/cache/gpu_check/packages"
if [ -n "$wheels" ]; then
    rm -rf -- "$packages"
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$packages" "$wheels"/*.whl
    export PYTHONPATH="$PWD:$packages"
else
    export PYTHONPATH="$PWD"
fi
export PYTHONNOUSERSITE=1 PYTHONUTF8=1 HF_HUB_OFFLINE=1
exec "$python" -m benchmarks.gpu_check --out "$out" "${options[@]}"
