# What an ordinary system has mounted and set up. What this kernel lacks for it, the tests notice by themselves.
there() {
	mkdir -p "$3" && mount -t "$1" ${4:+-o "$4"} "$2" "$3"
} 2>/dev/null
there devpts devpts /dev/pts ptmxmode=666
there tmpfs tmpfs /dev/shm mode=1777
there mqueue mqueue /dev/mqueue
there hugetlbfs hugetlbfs /dev/hugepages
there debugfs debugfs /sys/kernel/debug
there tracefs tracefs /sys/kernel/tracing
there securityfs securityfs /sys/kernel/security
there configfs configfs /sys/kernel/config
there cgroup2 cgroup2 /sys/fs/cgroup
there bpf bpf /sys/fs/bpf
there binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
mkdir -p /run /var/tmp /mnt
chmod 1777 /var/tmp
ln -s /proc/self/fd /dev/fd
ln -s /proc/mounts /etc/mtab
hostname guest
ifconfig lo up 2>/dev/null
echo "programs of the machine that built the tests: $(tr '\n' ' ' </etc/brought)"
echo "of all others that busybox has, its own are there"
# The file system that a kernel begins with is no root that pivot_root() would leave. So tests have it as a mount of its own, which
# lies on the first one.
mount --rbind / /mnt && mount --move /mnt /
exit 0
