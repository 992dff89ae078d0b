//! Guest memory: a memfd, so that a booted machine can later be shared copy-on-write.

use crate::{Error, Result, layout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{fs::File, sync::Arc};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

/// The guest's physical memory. Cloning it clones the reference.
pub type Memory = Arc<GuestMemoryMmap<()>>;

/// Makes `mib` MiB of zeroed guest memory: low memory up to 3 GiB, the rest from 4 GiB on.
///
/// Nothing is reserved: a page costs memory once the guest touches it.
pub fn create(mib: u32) -> Result<Memory> {
    let fail = |why: String| Error::Memory { mib, why };
    let size = u64::from(mib) << 20;
    let fd = memfd_create(c"guest-memory", MFdFlags::MFD_CLOEXEC).map_err(|e| fail(e.to_string()))?;
    let file = File::from(fd);
    file.set_len(size).map_err(|e| fail(e.to_string()))?;
    let file = Arc::new(file);

    let low = size.min(layout::GAP_START);
    let mut ranges = vec![(GuestAddress(0), low as usize, Some(FileOffset::from_arc(file.clone(), 0)))];
    if size > low {
        let high = (size - low) as usize;
        ranges.push((GuestAddress(layout::GAP_END), high, Some(FileOffset::from_arc(file, low))));
    }
    let memory = GuestMemoryMmap::from_ranges_with_files(ranges).map_err(|e| fail(e.to_string()))?;
    Ok(Arc::new(memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestMemoryBackend};

    #[test]
    fn memory_above_three_gib_continues_at_four() {
        let memory = create(4096).unwrap();
        assert!(!memory.address_in_range(GuestAddress(layout::GAP_START)));
        assert!(memory.address_in_range(GuestAddress(layout::GAP_END)));
        assert_eq!(memory.last_addr(), GuestAddress(layout::GAP_END + (1 << 30) - 1));
    }

    #[test]
    fn low_and_high_memory_do_not_alias() {
        let memory = create(4096).unwrap();
        memory.write_obj(1u64, GuestAddress(0)).unwrap();
        assert_eq!(memory.read_obj::<u64>(GuestAddress(layout::GAP_END)).unwrap(), 0);
    }
}
