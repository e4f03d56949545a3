# shellcheck shell=sh disable=SC2154 # variables that the lines before and after this file set
# Starts copies to the factories as a tree. POSIX sh, run on the orchestrator, where files may vanish after they were
# listed. Lines before it set key_file, ssh_options and mark; lines after it set "send", the script of a copy, and call
# "offer" and "start". A line in the pipe is a copy that may start now: the host that sends it, "-" for this one. A copy
# that fails between factories is repeated from here; if this one succeeds, the fault was the sender's, which loses a
# line, and the target does not serve others.
cd || exit 1
key="$HOME/$key_file"
if [ ! -r "$key" ]; then
  echo "$key is missing" >&2
  exit 1
fi
pipe=$(mktemp -d) && mkfifo "$pipe/slots" && exec 9<>"$pipe/slots" && rm -r "$pipe" || exit 1

offer() { for _ in $(seq "$2"); do printf '%s\n' "$1"; done >&9; }

script() { printf 'set -- %s\n%s\n' "$words" "$send"; }

from_here() {
  output=$(script | FLAMBE_HERE=--ignore-missing-args sh -s) && return
  code=$?
  printf '%s\n' "${output:-$(printf '%s\t%s\t%s\t%s' "$mark" "$name" "$code" 'the copy was ended')}"
  return 1
}

from_there() {
  # shellcheck disable=SC2086 # the options are words
  script | ssh -i "$key" $ssh_options "$source" "exec sh -s" >/dev/null 2>&1
}

start() {
  name=$1
  target=$2
  words=$3
  serves=$4
  read -r source <&9
  (
    if [ "$source" = - ]; then
      from_here || serves=0
    elif ! from_there; then
      serves=0
      from_here && source=
    fi
    offer "$target" "$serves"
    [ -z "$source" ] || offer "$source" 1
  ) &
}
