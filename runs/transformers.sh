#!/usr/bin/env bash
# A model folder of ours in several versions of transformers: the one that is installed, and others, each in a folder of
# its own. Arguments are versions:
#
#     bash runs/transformers.sh
#     bash runs/transformers.sh 4.50.3 5.0.0
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-test.txt
[ $# -gt 0 ] || set -- installed 4.50.3 4.57.6 5.0.0
for version in "$@"; do
    folder=.venv/transformers-$version
    if [ "$version" != installed ] && [ ! -d "$folder" ]; then
        python -m pip install --quiet --target="$folder.new" "transformers==$version"
        mv "$folder.new" "$folder"
    fi
    echo "transformers $version"
    PYTHONPATH=$folder python -m pytest -p no:cacheprovider tests/checkpoint/test_transformers.py
done
