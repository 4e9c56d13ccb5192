#!/usr/bin/env bash
# Install the wheel of dist/ with each supported Python on PATH (or those in PYTHONS) into a new virtual environment, and
# run it outside of the checkout: once with the newest allowed dependencies and once with the lowest ones. torch has the
# version of requirements.lock in both, because other versions may install gigabytes of GPU libraries.
# Each environment takes about 2 GB and is deleted after its test.
set -euo pipefail
cd "$(dirname "$0")/../.."
pythons=${PYTHONS:-$(for name in python3.11 python3.12 python3.13 python3.14; do command -v "$name" || true; done)}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock > "$folder/newest.txt"
for python in $pythons; do
  "$python" tests/package/lowest.py > "$folder/lowest.txt"
  cat "$folder/newest.txt" >> "$folder/lowest.txt"
  for versions in ${VERSIONS:-newest lowest}; do
    echo "== $("$python" --version), $versions dependencies"
    rm -rf "$folder/venv" "$folder/empty"
    mkdir "$folder/empty"
    "$python" -m venv "$folder/venv"
    "$folder/venv/bin/pip" --quiet --disable-pip-version-check install --constraint "$folder/$versions.txt" dist/*.whl
    "$folder/venv/bin/pip" --disable-pip-version-check check
    (
      cd "$folder/empty"
      "$folder/venv/bin/crdbvec" --version
      "$folder/venv/bin/crdbvec" model list
      "$folder/venv/bin/python" -c 'import crdbvec_pipelines as p; [getattr(p, name) for name in p.__all__]'
    )
  done
done
