#!/bin/sh
# Says which symbols that were asked for did not come out as asked.
#
#   check.sh CONFIG FRAGMENT...
#
# CONFIG is the .config after `make olddefconfig`; of a symbol that several
# fragments set, the last one counts. Exits 0 when all survived, 1 when some
# did not (one line each, on standard output), 2 on wrong usage.
set -eu

if [ $# -lt 2 ]; then
	echo "usage: check.sh CONFIG FRAGMENT..." >&2
	exit 2
fi
for file in "$@"; do
	if [ ! -f "$file" ]; then
		echo "check.sh: no such file: $file" >&2
		exit 2
	fi
done

exec awk '
	# "CONFIG_X=value" or "# CONFIG_X is not set"; a symbol that is absent
	# from .config is as good as not set.
	function symbol(line) { sub(/^# /, "", line); sub(/[= ].*/, "", line); return line }
	function value(line) {
		if (line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/) return "n"
		sub(/^[^=]*=/, "", line)
		return line
	}
	!/^CONFIG_[A-Za-z0-9_]+=/ && !/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { next }
	FILENAME == ARGV[1] { have[symbol($0)] = value($0); next }
	{ want[symbol($0)] = value($0); from[symbol($0)] = FILENAME ":" FNR }
	END {
		for (s in want) {
			got = (s in have) ? have[s] : "n"
			if (got == want[s]) continue
			printf "%s: asked for %s=%s, got %s\n", from[s], s, want[s], got
			lost = 1
		}
		exit lost
	}
' "$@"
