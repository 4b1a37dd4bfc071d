#!/usr/bin/env bash
# Makes `.venv` and installs the pinned packages into it; does nothing when they are there.
#   bash scripts/setup.sh          what training needs
#   bash scripts/setup.sh --dev    what the tests need too
# The other scripts source this file: it changes into the product's folder and defines `set_up FILE...` and the command `"${python[@]}"`.
# PYTHON=/path/to/python chooses the Python to make `.venv` from.

set -euo pipefail
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
root="$PWD"
venv="$root/.venv"
python=("$venv/bin/python" -s -X utf8)

# The host's Python settings must not reach in, and whatever is cached stays inside the folder. Nothing asks a model hub during a run.
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP VIRTUAL_ENV
export PYTHONNOUSERSITE=1 PYTHONUTF8=1
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HOME="$root/cache/huggingface" TORCH_HOME="$root/cache/torch"
export TORCHINDUCTOR_CACHE_DIR="$root/cache/inductor" TRITON_CACHE_DIR="$root/cache/triton" CUDA_CACHE_PATH="$root/cache/cuda"

say() {
    if [ -t 1 ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi
}

stop() {  # message, hint
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

usable() {  # is this a Python that the pins are made for, with the module $2?
    "$1" -s -c "import sys, $2; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))" >/dev/null 2>&1
}

find_python() {  # prints the Python to make `.venv` from; 3.11 first, on which the tests run
    local name old=""
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" ensurepip || stop "PYTHON names \`$PYTHON\`, which is no Python from 3.10 to 3.14 with the venv module" "name another, or none"
        command -v "$PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3.13 python3.10 python3.14 python3 python; do
        command -v "$name" >/dev/null 2>&1 || continue
        if usable "$name" ensurepip; then command -v "$name"; return; fi
        if usable "$name" sys; then old="$name"; fi
    done
    if [ -n "$old" ]; then
        stop "\`$old\` cannot make virtual environments: its \`ensurepip\` module is missing" \
            "on Debian or Ubuntu: sudo apt-get install python3-venv; then run this again"
    fi
    stop "no Python from 3.10 to 3.14 was found" \
        "install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv), or name it: PYTHON=/path/to/python3 bash scripts/train.sh"
}

is_set_up() {  # the text of the requirement files; what the tests need includes what training needs
    [ -f "$venv/installed.txt" ] && [[ "$(cat "$venv/installed.txt")" == "$1"* ]] && usable "$venv/bin/python" pip
}

set_up() {  # requirement files of this folder
    local wanted base quiet status
    wanted="$(cat requirements-gpu.txt "$@")"
    if is_set_up "$wanted"; then return; fi
    (
        if command -v flock >/dev/null 2>&1; then flock 9; fi  # a second terminal waits for the first
        if is_set_up "$wanted"; then exit 0; fi
        rm -f "$venv/installed.txt"
        if [ -e "$venv/interrupted" ] || ! usable "$venv/bin/python" pip; then
            base="$(find_python)" || exit 1
            say "making .venv with $("$base" --version 2>&1)"
            "$base" -m venv --clear "$venv"
        fi
        say "installing the packages of $* (the first time this downloads up to 3 GB)"
        quiet=(-q)
        if [ -t 1 ]; then quiet=(); fi
        : >"$venv/interrupted"  # stays only where pip is cut short, which can leave half a package that looks whole
        trap 'exit 130' INT TERM
        status=0
        "${python[@]}" -m pip install ${quiet[@]+"${quiet[@]}"} --disable-pip-version-check "${@/#/-r}" || status=$?
        rm -f "$venv/interrupted"
        if ((status)); then
            stop "the packages were not installed" "the lines above say why; after mending it run the same command again: it resumes there"
        fi
        if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then
            say "an NVIDIA card is here: installing what is optional for it"
            "${python[@]}" -m pip install -q --disable-pip-version-check -r requirements-gpu.txt -c requirements.txt \
                || printf 'note: bitsandbytes could not be installed; everything else works without it\n'
        fi
        printf '%s\n' "$wanted" >"$venv/installed.txt"  # last, so that an interrupted installation is done again
    ) 9<requirements.txt
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    case "${1:-}" in
        "") set_up requirements.txt ;;
        --dev) set_up requirements.txt requirements-dev.txt ;;
        *) stop "setup.sh knows no option \`$1\`" "bash scripts/setup.sh, or bash scripts/setup.sh --dev" ;;
    esac
    say "ready: $venv"
fi
