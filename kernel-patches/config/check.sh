#!/bin/sh
# Says which symbols that were asked for did not come out as asked.
#
#   check.sh [-s SOURCE] CONFIG FRAGMENT...
#
# CONFIG is the .config after `make olddefconfig`; of a symbol that several
# fragments set, the last one counts. SOURCE is the kernel's source: a symbol
# behind a line "# if-known" may be missing if no Kconfig file there has it.
# Without SOURCE it counts as lost, for a .config alone does not tell a symbol
# that is unknown from one that was dropped. Of a symbol behind "# before 6.9"
# and the like nothing is said, nor of one behind "# if-possible".
#
# Exits 0 when all survived, 1 when some did not (one line each, on standard
# output), 2 on wrong usage.
set -eu

usage() {
	echo "usage: check.sh [-s SOURCE] CONFIG FRAGMENT..." >&2
	exit 2
}

source=
while getopts s: option; do
	case $option in
	s) source=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
for file in "$@"; do
	if [ ! -f "$file" ]; then
		echo "check.sh: no such file: $file" >&2
		exit 2
	fi
done
if [ -n "$source" ] && [ ! -f "$source/Kconfig" ]; then
	echo "check.sh: no kernel source: $source" >&2
	exit 2
fi

# Prints FILE:LINE, symbol, what was asked for and what came, "if-known" or "must".
lost=$(awk '
	# "CONFIG_X=value" or "# CONFIG_X is not set"; a symbol that is absent
	# from .config is as good as not set, or as an empty text.
	function symbol(line) { sub(/^# /, "", line); sub(/[= ].*/, "", line); return line }
	function value(line) {
		if (line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/) return "n"
		sub(/^[^=]*=/, "", line)
		return line
	}
	{ gsub(/^[ \t]+|[ \t\r]+$/, "") }
	$0 == "# if-known" { known = "if-known"; next }
	$0 ~ /^# before [0-9]+\.[0-9]+$/ || $0 == "# if-possible" { known = "may"; next }
	!/^CONFIG_[A-Za-z0-9_]+=/ && !/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { next }
	FILENAME == ARGV[1] { have[symbol($0)] = value($0); next }
	known == "may" { known = ""; next }
	{
		s = symbol($0); want[s] = value($0); from[s] = FILENAME ":" FNR
		must[s] = known == "" ? "must" : known; known = ""
	}
	END {
		for (s in want) {
			got = (s in have) ? have[s] : "n"
			if (got == want[s] || !(s in have) && want[s] == "\"\"") continue
			print from[s], s, want[s], got, (s in have) ? "must" : must[s]
		}
	}
' "$@")

# Of other architectures no Kconfig file counts.
knows() {
	find "$source" -path "$source/arch/*" ! -path "$source/arch/x86*" ! -path "$source/arch/Kconfig" -prune \
		-o -name 'Kconfig*' -type f -print0 |
		xargs -0 grep -hE "^[[:space:]]*(menu)?config[[:space:]]+$1[[:space:]]*(#.*)?\$" | grep -q .
}

status=0
while read -r place symbol rest; do
	[ -n "$place" ] || continue
	if [ "${rest##* }" = if-known ] && [ -n "$source" ] && ! knows "${symbol#CONFIG_}"; then
		continue
	fi
	rest=${rest% *}
	echo "$place: asked for $symbol=${rest% *}, got ${rest##* }"
	status=1
done <<EOF
$lost
EOF
exit $status
