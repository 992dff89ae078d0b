# Builds collections of selftests, and lays out what a guest needs to run them. It runs in a box, where it can write to its
# own folder alone.
#
#   $1      the kernel's source, which is not written to
#   $2      the folder: `install` in it will be the guest's /kselftest, `root` goes to the guest's /
#   $3 ...  collections
set -u
source=$1 work=$2
shift 2
tree=$work/tree root=$work/root install=$work/install
rm -rf "$tree" "$root" "$install" "$work/done"
mkdir -p "$tree/tools/testing" "$tree/usr" "$root" "$install" "$work/headers" "$work/bin"

# Collections write beside their sources, so these are copied. Of all else there are links.
link() {
	local from
	for from in "$1"/*; do
		[ "${from##*/}" = "$3" ] || ln -s "$from" "$2/"
	done
}
link "$source" "$tree" tools
rm "$tree/usr"
mkdir "$tree/usr"
link "$source/usr" "$tree/usr" include
link "$source/tools" "$tree/tools" testing
link "$source/tools/testing" "$tree/tools/testing" selftests
cp -a "$source/tools/testing/selftests" "$tree/tools/testing/"
chmod -R u+w "$tree/tools/testing/selftests"

make -C "$source" O="$work/headers" headers || exit 1
ln -s "$work/headers/usr/include" "$tree/usr/include"

# The makefiles install by rsync, in one way only. Where it is not there, this does the same: links are kept, but for those
# that lead out of the folder.
if ! type -P rsync >/dev/null; then
	cat >"$work/bin/rsync" <<-'END'
		#!/bin/bash
		parents= files=()
		for word; do
			case $word in
			-*R*) parents=--parents ;;
			-*) ;;
			*) files+=("$word") ;;
			esac
		done
		to=${files[-1]} status=0
		unset 'files[-1]'
		mkdir -p "$to"
		for file in "${files[@]}"; do
			how=-a
			case $(readlink "$file") in /* | ../*) how=-aL ;; esac
			# A build beside its sources installs some onto themselves.
			[ "$file" -ef "$to/${file##*/}" ] && continue
			cp "$how" $parents --target-directory="$to" "$file" || status=23
		done
		exit $status
	END
	chmod +x "$work/bin/rsync"
	PATH=$work/bin:$PATH
fi

# Whatever does not build is told by its makefile's line, and the rest is built all the same (-i).
make -i -C "$tree/tools/testing/selftests" "TARGETS=$*" SKIP_TARGETS= KSFT_INSTALL_PATH="$install" install || exit 1

# From here on: what the tests need of this machine.
system=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# A program's shared libraries, each at the path where the loader finds it. What the collection brings itself lies beside it.
libraries() {
	local library
	ldd "$1" 2>/dev/null | sed -n 's|.*[[:space:]]\(/[^ ]*\) (0x.*|\1|p' | while read -r library; do
		case $library in "$work"/*) continue ;; esac
		[ -e "$root$library" ] || install -D -m 755 "$library" "$root$library"
	done
}

# A program of this machine. Scripts name it by any of these folders.
bring() {
	local from name=${1##*/} folder
	from=$(PATH=$system type -P "$name") || return 1
	[ ! -e "$root/usr/bin/$name" ] || return 0
	install -D -m 755 "$from" "$root/usr/bin/$name"
	for folder in bin sbin usr/sbin; do
		mkdir -p "$root/$folder"
		ln -s /usr/bin/"$name" "$root/$folder/$name"
	done
	libraries "$from"
}

# The C library opens this one when a thread is ended.
unwinder=$(gcc -print-file-name=libgcc_s.so.1)
for place in /lib/x86_64-linux-gnu /lib64; do
	[ ! -e "$place" ] || install -D -m 755 "$unwinder" "$root$place/libgcc_s.so.1"
done

for collection; do
	find "$install/$collection" -type f -perm -u+x | while read -r file; do
		libraries "$file"
	done
done

# Scripts are written for the tools of a whole system, not for busybox's. So each word of theirs that names a program here
# brings it along; too many do no harm. Left out are what would need more than itself, and what the guest has in its own way.
stdbuf=$(find /usr/libexec/coreutils /usr/lib -name libstdbuf.so 2>/dev/null | head -n 1)
words=$(find "$install" -type f -size -1024k -print0 | xargs -0 grep -Iohw '[a-zA-Z_][a-zA-Z0-9_.+-]*' | sort -u)
for word in sh bash env ${stdbuf:+stdbuf} $words; do
	case $word in
	busybox | modprobe | insmod | rmmod | lsmod | modinfo | depmod) continue ;;
	as | python* | perl* | ruby* | gcc* | cc | c++* | g++* | cpp* | clang* | make | gmake | ld | ld.* | git | ssh* | vi | vim* | sudo | su) continue ;;
	*.so | .* | *-) continue ;;
	esac
	from=$(PATH=$system type -P "$word") && [ "$(stat -Lc %s "$from")" -lt 8000000 ] && bring "$word"
done
[ -z "$stdbuf" ] || install -D -m 644 "$stdbuf" "$root$stdbuf"

mkdir -p "$root/etc"
echo "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false" >"$root/etc/passwd"
echo "root:x:0:
daemon:x:1:
nogroup:x:65534:" >"$root/etc/group"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
ls "$root/usr/bin" >"$root/etc/brought"
touch "$work/done"
