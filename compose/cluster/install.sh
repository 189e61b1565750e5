#!/bin/sh
# Install the checkout in the present folder, and exactly what its lock names, into a new virtual
# environment: sh compose/cluster/install.sh FOLDER
set -eu
target=$1
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

# The lock, and what builds the wheel, are read with a uv of its own: nothing of that is installed.
if ! command -v uv >"$tools/found"; then
    python3 -m venv "$tools/uv"
    "$tools/uv/bin/pip" install --quiet "uv>=0.9,<1"
    export PATH="$tools/uv/bin:$PATH"
fi
uv export --frozen --quiet --no-dev --no-emit-project >"$tools/requirements.txt"
uv build --quiet --wheel --out-dir "$tools/wheel"

python3 -m venv --without-pip "$target"
uv pip install --quiet --python "$target/bin/python" --require-hashes -r "$tools/requirements.txt"
uv pip install --quiet --python "$target/bin/python" --no-deps "$tools"/wheel/*.whl
"$target/bin/python" -m compileall -q "$target/lib"
