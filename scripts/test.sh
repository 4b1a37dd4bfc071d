#!/usr/bin/env bash
# Sets up what the tests need, then runs the linter, the type checker and the tests. Arguments go to pytest:
#   bash scripts/test.sh -m slow
#   bash scripts/test.sh tests/test_layers.py -x

set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt requirements-dev.txt
side_by_side=(-n auto --maxprocesses 4 --dist loadfile) # a file's tests stay in order, in one process

say "ruff"
"${python[@]}" -m ruff check .
say "mypy"
"${python[@]}" -m mypy
say "pytest"
exec "${python[@]}" -m pytest "${side_by_side[@]}" "$@"
