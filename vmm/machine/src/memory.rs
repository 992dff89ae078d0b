//! Guest memory: a memfd, or a private copy of what a saved machine had in its memory ([`crate::saved`]).

use crate::{Error, Result, layout};
use nix::{
    errno::Errno,
    libc,
    sys::{
        memfd::{MFdFlags, memfd_create},
        resource::{Resource, getrlimit},
    },
};
use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};
use vm_memory::{
    AtomicAccess, Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
    bitmap::{AtomicBitmap, Bitmap},
};

/// The guest's physical memory. Cloning it clones the reference. It remembers which pages the devices have written to;
/// those that the guest has written to are known to KVM.
pub type Memory = Arc<GuestMemoryMmap<AtomicBitmap>>;

/// Makes `mib` MiB of zeroed guest memory: low memory up to 3 GiB, the rest from 4 GiB on.
///
/// Nothing is reserved: a page costs memory once the guest touches it.
pub fn create(mib: u32) -> Result<Memory> {
    let fail = |why: String| Error::Memory { mib, why };
    let size = u64::from(mib) << 20;
    // Longer ones end the process by SIGXFSZ.
    let longest = getrlimit(Resource::RLIMIT_FSIZE).map_or(u64::MAX, |(soft, _)| soft);
    if longest < size {
        return Err(fail(format!(
            "it is a file, and none may have more than {} MiB (ulimit -f)",
            longest >> 20
        )));
    }
    let fd = memfd().map_err(|e| fail(e.to_string()))?;
    let file = File::from(fd);
    file.set_len(size).map_err(|e| fail(e.to_string()))?;
    let file = Arc::new(file);
    let ranges = ranges(mib).map(|range| {
        let place = FileOffset::from_arc(file.clone(), range.in_file);
        (range.start, range.length, Some(place))
    });
    let memory = GuestMemoryMmap::from_ranges_with_files(ranges).map_err(|e| fail(e.to_string()))?;
    memory.iter().for_each(ask_for_large_pages);
    Ok(Arc::new(memory))
}

/// One that nobody can execute: since Linux 6.3 a machine may give no others (`vm.memfd_noexec`, Linux Documentation/admin-guide/sysctl/vm.rst), and
/// older ones know no such thing.
fn memfd() -> nix::Result<OwnedFd> {
    let no_exec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let create = |flags| memfd_create(c"guest-memory", flags);
    match create(MFdFlags::MFD_CLOEXEC | no_exec) {
        Err(Errno::EINVAL) => create(MFdFlags::MFD_CLOEXEC),
        fd => fd,
    }
}

/// In pages of 2 MiB a guest's first touches of its memory are far fewer faults. Where the machine gives none to such memory
/// (`shmem_enabled` of Linux Documentation/admin-guide/mm/transhuge.rst), it is only slower.
fn ask_for_large_pages<B: Bitmap>(region: &GuestRegionMmap<B>) {
    // SAFETY: the whole of a mapping that lives meanwhile; the advice changes no byte of it.
    unsafe { libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_HUGEPAGE) };
}

/// A number in guest memory, where the processor aligns it; `None` elsewhere, and where that is no memory. It is one load: what is
/// looked at in each system call costs several times as much when it is copied as bytes.
pub fn load<T: AtomicAccess>(memory: &Memory, at: GuestAddress) -> Option<T> {
    // There are two regions at most, and they are found sooner one by one.
    let (region, at) = memory.iter().find_map(|region| Some((region, region.to_region_addr(at)?)))?;
    region.load(at, Ordering::Relaxed).ok()
}

/// Whether memory holds these bytes from there on; `None` where that is no memory. They are not copied: most of what is
/// looked at again and again is as it was.
pub fn holds(memory: &Memory, at: GuestAddress, bytes: &[u8]) -> Option<bool> {
    let there = memory.get_slice(at, bytes.len()).ok()?;
    let there = there.ptr_guard();
    // SAFETY: both sides are as long as `bytes` and stay mapped meanwhile, the guest's by its guard. The guest may write
    // there: C reads it as it comes, and no reference to it exists.
    let order = unsafe { libc::memcmp(there.as_ptr().cast(), bytes.as_ptr().cast(), bytes.len()) };
    Some(order == 0)
}

/// A part of guest memory, and where it is in a file that holds all of it.
pub(crate) struct Range {
    pub start: GuestAddress,
    pub length: usize,
    pub in_file: u64,
}

/// How so much memory lies in the guest's address space.
pub(crate) fn ranges(mib: u32) -> impl Iterator<Item = Range> {
    let size = u64::from(mib) << 20;
    let low = size.min(layout::GAP_START);
    let parts = [(GuestAddress(0), low, 0), (GuestAddress(layout::GAP_END), size - low, low)];
    let range = |(start, length, in_file)| Range { start, length: length as usize, in_file };
    parts.into_iter().filter(|(_, length, _)| *length > 0).map(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn memory_above_three_gib_continues_at_four() {
        let memory = create(4096).unwrap();
        assert!(!memory.address_in_range(GuestAddress(layout::GAP_START)));
        assert!(memory.address_in_range(GuestAddress(layout::GAP_END)));
        assert_eq!(memory.last_addr(), GuestAddress(layout::GAP_END + (1 << 30) - 1));
    }

    #[test]
    fn a_limit_of_files_is_named_where_memory_is_longer() {
        let mut command = std::process::Command::new("sh");
        // In a process of its own, as the limit is for all of one.
        command.args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "memory::tests::with_a_limit_of_files", "--ignored", "--nocapture"]);
        assert!(command.status().unwrap().success());
    }

    #[test]
    #[ignore = "the other test starts it"]
    fn with_a_limit_of_files() {
        let why = create(64).unwrap_err().to_string();
        assert!(
            why.starts_with("can't get 64 MiB of guest memory: it is a file") && why.ends_with("(ulimit -f)")
        );
        // As long as the longest.
        create(1).unwrap();
    }

    #[test]
    fn what_memory_holds_is_told_without_a_copy() {
        let memory = create(1).unwrap();
        memory.write_slice(b"abc", GuestAddress(0x1001)).unwrap();
        let told = |at, bytes: &[u8]| holds(&memory, GuestAddress(at), bytes);
        assert_eq!(told(0x1001, b"abc"), Some(true));
        assert_eq!(told(0x1001, b"abd"), Some(false));
        assert_eq!(told(0xf_fffe, &[0, 0]), Some(true));
        assert_eq!(told(0xf_fffe, &[0, 0, 0]), None, "beyond the end");
        assert_eq!(told(0, &[]), Some(true));
    }

    #[test]
    fn low_and_high_memory_do_not_alias() {
        let memory = create(4096).unwrap();
        memory.write_obj(1u64, GuestAddress(0)).unwrap();
        assert_eq!(memory.read_obj::<u64>(GuestAddress(layout::GAP_END)).unwrap(), 0);
    }

    #[test]
    fn numbers_are_loaded_where_they_are_aligned_and_memory_is() {
        let memory = create(1).unwrap();
        memory.write_obj(0x1122_3344_5566_7788u64, GuestAddress(0xff8)).unwrap();
        assert_eq!(load(&memory, GuestAddress(0xff8)), Some(0x1122_3344_5566_7788u64));
        assert_eq!(load(&memory, GuestAddress(0xffc)), Some(0x1122_3344u32));
        assert_eq!(load::<u64>(&memory, GuestAddress(0xffc)), None);
        assert_eq!(load::<u64>(&memory, GuestAddress(1 << 20)), None);
        assert_eq!(load::<u64>(&memory, GuestAddress(u64::MAX - 7)), None);
    }
}
