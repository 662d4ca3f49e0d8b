# shellcheck shell=bash
# Sourced by the scripts beside it: strict mode, the project's root, one way to give up.
set -euo pipefail
CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# Whatever Python environment the caller has open is none of ours; without bytecode each start of DVC takes seconds.
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV PYTHONDONTWRITEBYTECODE
export DVC_NO_ANALYTICS=1

# A user without a home of their own (a service, a container) keeps caches in the project.
cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}
if ! { mkdir -p -- "$cache" && [[ -w $cache ]]; } 2>/dev/null; then
  export XDG_CACHE_HOME=$PWD/.local/cache
fi

# die EXIT_CODE LINE...: the codes are dvc-runner's (2 usage, 3 configuration, 4 engine, 5 host path).
die() {
  local code=$1
  shift
  printf '%s\n' "$@" >&2
  exit "$code"
}

# ls is the one way to ask for an owner that Linux and macOS share.
# shellcheck disable=SC2012
owner_name() { ls -ld -- "$1" | awk '{ print $3 }'; }
# shellcheck disable=SC2012
owner_ids() { ls -nd -- "$1" | awk '{ print $3 ":" $4 }'; }
# shellcheck disable=SC2012
group_id() { ls -nLd -- "$1" | awk '{ print $4 }'; }
