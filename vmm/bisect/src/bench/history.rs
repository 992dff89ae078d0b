//! The history that is searched: two screens of commits as a subsystem-hopping week of Linux has them. Most of them are nothing that a
//! small configuration builds.

use super::linux::{Edit, Linux};
use crate::git::GitError;
use std::path::Path;

use Edit::{Comment, Function, Inline, Replace};

/// What the culprit does: the call that the scenario looks at answers wrongly.
const FAULT: Edit =
    Replace("\treturn mask;\n}\n\nstatic int prctl_set", "\treturn mask | 01000;\n}\n\nstatic int prctl_set");

/// Another fault, which comes and goes: a warning in a call that the scenario makes as well.
const WARNING: &str = "\terror = __do_pipe_flags(fd, files, flags);\n\tWARN_ON(!error);\n";
const NO_WARNING: &str = "\terror = __do_pipe_flags(fd, files, flags);\n";

/// What does not build.
const BROKEN: &str = "#include <linux/syscalls.h>\n#include <linux/namei_flags.h>\n";
const WHOLE: &str = "#include <linux/syscalls.h>\n";

/// Before the branch is merged, on it, and behind the merge.
const BEFORE: &[(&str, Edit)] = &[
    ("Documentation/admin-guide/README.rst", Comment),
    ("net/ipv4/tcp.c", Function),
    ("kernel/fork.c", Function),
    ("drivers/gpu/drm/i915/i915_driver.c", Function),
    ("arch/arm64/kernel/setup.c", Function),
    ("fs/ext4/inode.c", Function),
    ("sound/core/init.c", Function),
    ("mm/slub.c", Function),
    ("tools/perf/builtin-record.c", Function),
    ("drivers/net/ethernet/intel/e1000e/netdev.c", Function),
    ("include/linux/vmalloc.h", Inline),
    ("fs/btrfs/super.c", Function),
    ("Documentation/mm/slab.rst", Comment),
    ("kernel/signal.c", Function),
    ("arch/riscv/kernel/setup.c", Function),
    ("drivers/scsi/scsi_lib.c", Function),
    ("net/core/dev.c", Function),
    ("lib/vsprintf.c", Function),
    ("drivers/usb/core/hub.c", Function),
    ("fs/xfs/xfs_inode.c", Function),
    ("fs/pipe.c", Replace(NO_WARNING, WARNING)),
    ("drivers/nvme/host/core.c", Function),
    ("fs/pipe.c", Replace(WARNING, NO_WARNING)),
    ("tools/testing/selftests/kvm/lib/kvm_util.c", Function),
    ("include/drm/drm_device.h", Inline),
    ("drivers/tty/tty_io.c", Function),
    ("net/ipv6/route.c", Function),
    ("arch/powerpc/kernel/setup-common.c", Function),
];
const BRANCH: &[(&str, Edit)] = &[
    ("drivers/virtio/virtio.c", Function),
    ("drivers/vhost/vhost.c", Function),
    ("net/vmw_vsock/af_vsock.c", Function),
    ("include/linux/virtio.h", Inline),
    ("Documentation/driver-api/virtio/virtio.rst", Comment),
    ("drivers/block/virtio_blk.c", Function),
];
const BEHIND: &[(&str, Edit)] = &[
    ("fs/nfs/inode.c", Function),
    ("kernel/time/timer.c", Function),
    ("drivers/md/dm.c", Function),
    ("arch/s390/kernel/setup.c", Function),
    ("fs/namei.c", Replace(WHOLE, BROKEN)),
    ("drivers/i2c/i2c-core-base.c", Function),
    ("mm/mmap.c", Function),
    ("fs/namei.c", Replace(BROKEN, WHOLE)),
    ("net/mac80211/main.c", Function),
    ("drivers/gpu/drm/amd/amdgpu/amdgpu_device.c", Function),
    ("sound/pci/hda/hda_intel.c", Function),
    ("kernel/sys.c", FAULT),
    ("Documentation/process/changes.rst", Comment),
    ("fs/f2fs/super.c", Function),
    ("drivers/infiniband/core/device.c", Function),
    ("include/linux/tty.h", Inline),
    ("arch/mips/kernel/setup.c", Function),
    ("fs/open.c", Function),
    ("net/netfilter/core.c", Function),
    ("drivers/media/v4l2-core/v4l2-dev.c", Function),
    ("kernel/sched/core.c", Function),
    ("drivers/iommu/iommu.c", Function),
    ("tools/power/x86/turbostat/turbostat.c", Function),
    ("drivers/net/wireless/ath/ath9k/main.c", Function),
    ("mm/vmalloc.c", Function),
    ("fs/smb/client/connect.c", Function),
    ("drivers/hid/hid-core.c", Function),
    ("MAINTAINERS", Comment),
    ("arch/x86/kernel/setup.c", Function),
    ("net/sched/sch_api.c", Function),
    ("drivers/mmc/core/core.c", Function),
    ("init/main.c", Function),
];

/// The scenario, which needs no module: the second call shows what the first one set.
pub const SCENARIO: &str = "\
steps:
  - syscall: umask
    args: [18]
  - syscall: umask
    args: [18]
    expect: {returns: 18}
  - syscall: pipe2
    args: [{out: 8}, 0]
";

/// What is configured besides what all guests have: less, so that a build takes minutes.
pub const FRAGMENT: &str = "# CONFIG_RUST is not set\n";

/// The history, with the places of good, bad and the culprit among its commits.
pub struct Made {
    pub linux: Linux,
    pub good: usize,
    pub bad: usize,
    pub culprit: usize,
}

/// Makes it.
///
/// # Errors
/// git fails, or the source is another than the edits were made for.
pub fn make(place: &Path, base: &Path, salt: u64) -> Result<Made, GitError> {
    let mut linux = Linux::new(place, base, salt)?;
    let add = |linux: &mut Linux, from: usize, (file, edit): &(&str, Edit)| {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let what = match edit {
            Function | Inline => "add a helper to",
            Comment => "look through",
            Replace(..) => "rework",
        };
        let name = file.rsplit('/').next().unwrap_or_default();
        linux.commit(from, &format!("{folder}: {what} {name}"), file, *edit)
    };
    let mut main = 0;
    for change in BEFORE {
        main = add(&mut linux, main, change)?;
    }
    // It left some commits ago, as branches do.
    let mut branch = main - 8;
    for change in BRANCH {
        branch = add(&mut linux, branch, change)?;
    }
    main = linux.merge(main, branch, "Merge the branch 'virtio'");
    let mut culprit = 0;
    for change in BEHIND {
        main = add(&mut linux, main, change)?;
        if matches!(change, ("kernel/sys.c", _)) {
            culprit = main;
        }
    }
    Ok(Made { linux: linux.finish()?, good: 0, bad: main, culprit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_long_as_is_said_of_it() {
        assert!(BEFORE.len() + BRANCH.len() + 1 + BEHIND.len() >= 64);
    }
}
