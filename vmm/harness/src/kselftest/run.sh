# Runs one test as selftests/kselftest/runner.sh does: in its folder, by its name there.
#   $1  the collection
#   $2  the test
#   $3  `emulated` on an emulated host
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=linux

# Has it what it needs?
while read -r test what which more; do
	[ "$test" = "$1:$2" ] || continue
	case $what in
	file) [ -e "$which" ] ;;
	flag) grep -qw "$which" /proc/cpuinfo ;;
	cpus) [ "$(grep -c ^processor /proc/cpuinfo)" -ge "$which" ] ;;
	smt) [ "$(cat /sys/devices/system/cpu/smt/active 2>/dev/null)" = 1 ] ;;
	disk) [ "$(stat -f -c %T "/kselftest/$1")" != tmpfs ] ;;
	machine) [ "$3" != emulated ] ;;
	esac && continue
	echo "[SKIP] ${more#*| }"
	exit 4
done </kselftest.needs

cd "/kselftest/$1" || exit 1
if [ -x "./$2" ]; then
	set -- "./$2"
elif [ -x ./ksft_runner.sh ]; then
	set -- ./ksft_runner.sh "./$2"
else
	read -r first <"./$2"
	set -- ${first#??} "./$2"
fi
# What a test has said is not to be lost with it when its time is up.
[ ! -x /usr/bin/stdbuf ] || set -- stdbuf --output=L "$@"
# By `..` from the first root one gets to what is mounted on it. (Other chroots than busybox's take that for nothing to do.)
busybox chroot /.. /bin/sh -c 'cd "$0" && exec "$@"' "$PWD" "$@" </dev/null
status=$?
case $status in
4) echo "[SKIP] its exit status is 4" ;;
127)
	echo "[SKIP] a program or a library that it needs is not in this guest"
	status=4
	;;
esac
exit $status
