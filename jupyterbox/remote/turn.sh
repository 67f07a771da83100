# Whose turn it is to change this box: looked at by a run that plans, taken by one that executes.
#
# A turn is of the process that lives as long as its run: sshd's for the run's one connection, or
# the run's own where it is on the box. So nothing must be given back: whoever dies has no turn.
proc={proc}; run={run}; file=$run/turn
take={take}; seen={seen}; by={by}; process={process}

# After the name, which may hold anything: the state, the parent; the 20th is when it started.
field() { sed 's/.*) //' "$proc/$1/stat" 2>/dev/null | cut -d ' ' -f "$2"; }
said() { sed -n "s/^$1=//p" "$file" 2>/dev/null; }

connection() {
  pid={me}
  while [ "${pid:-0}" -gt 1 ]; do
    case $(cat "$proc/$pid/comm" 2>/dev/null) in
      # Only sshd's child for this connection is asked for its address: sudo drops the variable.
      sshd | sshd-session | dropbear)
        address=$(tr '\0' '\n' <"$proc/$child/environ" 2>/dev/null |
          sed -n 's/^SSH_CLIENT=\([^ ]*\) .*/\1/p' | head -n 1)
        process=$pid; return ;;
    esac
    child=$pid; pid=$(field "$pid" 2)
  done
}

judge() {
  held="$(said process) $(said started)"
  [ "$held" = ' ' ] && held=
  now=$(field "${held% *}" 20)
  if [ "$held" ] && [ "$now" = "${held#* }" ] && [ "$(field "${held% *}" 1)" != Z ]; then
    verdict=taken; [ "$held" = "$process $started" ] && verdict=free
  elif [ "$seen" != - ] && [ "$seen" != "$held" ]; then
    verdict=changed
  else
    verdict=free
  fi
  printf 'verdict=%s\nheld=%s\n' "$verdict" "$held"
  cat "$file" 2>/dev/null || :
}

taken() {
  judge
  # Where nothing is known that lives as long as the run, whatever was noted would be wrong.
  [ "$verdict" = free ] && [ "$started" ] || return 0
  login=$(stat -c %U "$proc/$process")
  printf '%s=%s\n' process "$process" started "$started" by "$by" login "$login" \
    address "$address" since "$(date -u '+%Y-%m-%d %H:%M UTC')" >"$file.new" &&
    mv "$file.new" "$file"
}

address=
[ "$process" ] || connection
started=$(field "${process:-0}" 20)
if [ "$take" ]; then
  mkdir -p -m 700 "$run" && (flock 9 && taken) 9<"$run" || exit 1
else
  judge
fi
