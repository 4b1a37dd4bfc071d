#!/usr/bin/env bash
# Sets up what the tests need, then runs the linter, the type checker and the tests. Arguments go to pytest:
#   bash scripts/test.sh -m slow
#   bash scripts/test.sh tests/test_layers.py -x

set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt requirements-dev.txt

say "ruff"
"${python[@]}" -m ruff check .
say "mypy"
"${python[@]}" -m mypy
say "pytest"
exec "${python[@]}" -m pytest "$@"
