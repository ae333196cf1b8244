#!/bin/sh
# A real Label Studio for the tests marked "labelstudio", in an environment of its own: its pins and ours do not mix.
# usage: scripts/make-labelstudio-env.sh [FOLDER]      (default .venv-labelstudio; half a minute to two, 1 GB)
set -eu
folder="${1:-.venv-labelstudio}"
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q --disable-pip-version-check label-studio==1.23.2 label-studio-sdk==2.1.2
echo "run its tests with: ASSENT_LABEL_STUDIO=$folder/bin/label-studio .venv/bin/python -m pytest -m labelstudio"
