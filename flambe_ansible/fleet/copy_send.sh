# shellcheck shell=sh disable=SC2034,SC2154 # variables that the lines before and after this file set or use
# Copies paths of this host to one target. POSIX sh, run in the home folder of the host that has the paths; its
# arguments are the target and its name. Lines before it set key_file, ssh_options and mark; lines after it call "copy".
# For each failure it prints: mark, name, exit code, first line of the output. ssh reads addresses, host keys and
# time-outs from the block that the launch wrote to ~/.ssh/config; in a large cluster the block reads those of other
# factories from the orchestrator.
cd || exit 1
key="$HOME/$key_file"
target=$1
name=$2
failed=0

copy() {
  options=$1
  source=$2
  folder=$3
  list=$4
  check=${5:-}
  # shellcheck disable=SC2086 # both are lists of words
  output=$(printf %s "$list" | base64 -d | rsync $options $FLAMBE_HERE --rsync-path "${check}rsync" \
    --archive --no-owner --no-group --partial --protect-args --mkpath \
    --rsh "ssh -i '$key' $ssh_options" -- "$source" "$target:$folder" 2>&1)
  code=$?
  [ "$code" = 0 ] && return
  failed=1
  printf '%s\t%s\t%s\t%s\n' "$mark" "$name" "$code" "$(printf %s "$output" | head -n 1)"
}
