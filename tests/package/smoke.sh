#!/usr/bin/env bash
# Install what is in dist/ with each supported Python on PATH (or those in PYTHONS) into a new virtual environment, and
# run it outside of the checkout: once with the newest allowed dependencies and once with the lowest ones that have a
# wheel for this Python, each from the wheel and from the source distribution. uv must be on PATH. torch has the version of
# requirements.lock in all of them; UV_TORCH_BACKEND=cpu selects its CPU build, as `make smoke` does.
# An environment takes 2 GB, and 6 GB with the build of torch for CUDA; it is deleted after its test.
set -euo pipefail
cd "$(dirname "$0")/../.."
pythons=${PYTHONS:-$(for name in python3.11 python3.12 python3.13 python3.14; do command -v "$name" || true; done)}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
bin=$folder/venv/bin
sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.lock > "$folder/torch.txt"

smoke() { # Embed, index and search with Dagster and the embedded PostgreSQL; every public name can be imported.
  rm -rf "$folder/empty"
  mkdir "$folder/empty"
  (
    cd "$folder/empty"
    "$bin/crdbvec" --version
    "$bin/crdbvec" model list
    "$bin/python" -c 'import crdbvec_pipelines as p; [getattr(p, name) for name in p.__all__]'
    "$bin/crdbvec" demo --rows 60
    "$bin/crdbvec" search "a bird that cannot fly" -l 1
    "$bin/crdbvec" doctor
    "$bin/dagster-webserver" --version
  )
}

for python in $pythons; do
  for versions in ${VERSIONS:-newest lowest}; do
    case $versions in newest) resolution=highest ;; *) resolution=lowest-direct ;; esac
    # A file of its own, because uv keeps the versions that it finds in the file.
    uv pip compile --quiet --python "$python" --resolution "$resolution" --only-binary :all: \
      --constraint "$folder/torch.txt" pyproject.toml --output-file "$folder/$versions.txt"
    rm -rf "$folder/venv"
    "$python" -m venv "$folder/venv"
    install=(uv pip install --quiet --python "$bin/python")
    "${install[@]}" --requirement "$folder/$versions.txt"
    for artifact in dist/*.whl dist/*.tar.gz; do
      echo "== $("$python" --version), $versions dependencies, $artifact"
      "${install[@]}" --no-deps --reinstall "$artifact"
      uv pip check --python "$bin/python"
      smoke
    done
  done
done
echo "== all have passed"
