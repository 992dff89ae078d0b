# Builds a collection of selftests, and lays out what a guest needs to run it. It runs in a box, where it can write to its
# own folder alone.
#
#   $1  the kernel's source, which is not written to
#   $2  the folder, which all collections of this kernel share
#   $3  the collection
#   $4  its own folder there: `install` in it will be the guest's /kselftest, `root` goes to the guest's /
set -u
source=$1 work=$2 collection=$3 own=$4
tree=$work/tree root=$own/root install=$own/install selftests=$work/tree/tools/testing/selftests
rm -rf "$own"
mkdir -p "$root" "$install"

# What all of them need is made once. Collections write beside their sources, so these are copied. Of all else there are links.
link() {
	local from
	for from in "$1"/*; do
		[ "${from##*/}" = "$3" ] || ln -s "$from" "$2/"
	done
}
if [ ! -e "$work/ready" ]; then
	rm -rf "$tree" "$work/headers" "$work/bin"
	mkdir -p "$tree/tools/testing" "$work/headers" "$work/bin"
	link "$source" "$tree" tools
	rm "$tree/usr"
	mkdir "$tree/usr"
	link "$source/usr" "$tree/usr" include
	link "$source/tools" "$tree/tools" testing
	link "$source/tools/testing" "$tree/tools/testing" selftests
	cp -a "$source/tools/testing/selftests" "$tree/tools/testing/"
	chmod -R u+w "$selftests"
	make -C "$source" O="$work/headers" headers || exit 1
	ln -s "$work/headers/usr/include" "$tree/usr/include"
	touch "$work/ready"
fi
# It may have been built before, when this machine lacked something.
rm -rf "${selftests:?}/$collection"
cp -a "$source/tools/testing/selftests/$collection" "$selftests/$collection"
chmod -R u+w "$selftests/$collection"

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
make -i -C "$selftests" "TARGETS=$collection" SKIP_TARGETS= KSFT_INSTALL_PATH="$install" install || exit 1

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

find "$install" -type f -perm -u+x | while read -r file; do
	libraries "$file"
done

# Tests are written for the tools of a whole system, not for busybox's. So each word of a script, and of a string in a C program,
# that names a program here brings it along; too many do no harm. Left out is what would need more than itself.
stdbuf=$(find /usr/libexec/coreutils /usr/lib -name libstdbuf.so 2>/dev/null | head -n 1)
word='[a-zA-Z_][a-zA-Z0-9_.+-]*'
words=$({
	find "$install" -type f -size -1024k -print0 | xargs -0r grep -Iohw "$word"
	find "$selftests/$collection" -name '*.[ch]' -print0 | xargs -0r grep -oh '"[^"]*"' | grep -ow "$word"
} | sort -u)
for word in sh bash env ${stdbuf:+stdbuf} $words; do
	case $word in
	busybox | as | python* | perl* | ruby* | gcc* | cc | c++* | g++* | cpp* | clang* | make | gmake | ld | ld.* | git | ssh* | vi | vim* | sudo | su) continue ;;
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
touch "$own/done"
