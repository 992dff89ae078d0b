# Runs one test as selftests/kselftest/runner.sh does: in its folder, by its name there.
#   $1  the collection
#   $2  the test
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=linux
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
"$@" </dev/null
status=$?
case $status in
4) echo "[SKIP] its exit status is 4" ;;
127)
	echo "[SKIP] a program or a library that it needs is not in this guest"
	status=4
	;;
esac
exit $status
