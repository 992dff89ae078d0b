//! Guest memory in a file: written once, and then the beginning of any number of machines.
//!
//! A machine maps the file privately. What it only reads it shares with all others, and a page that it writes to becomes its
//! own; the file itself is never written to again. To go back to the beginning, those pages alone are copied that the
//! guest (by KVM's log) or a device (by the memory's own) has written to.

use crate::{
    Error, Memory, Result, Vm,
    memory::{Range, ranges},
};
use nix::{
    errno::Errno,
    libc,
    unistd::{Whence, lseek},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    hash::Hasher,
    io,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};
use twox_hash::XxHash64;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    MmapRegion, VolatileMemory,
    bitmap::{AtomicBitmap, NewBitmap},
    mmap::MmapRegionBuilder,
};

/// In bytes.
const PAGE: usize = 4096;

/// So much is read and written at once.
const PIECE: usize = 256 * PAGE;

/// What is known of memory in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMemory {
    /// In MiB.
    mib: u32,
    /// What is in the file, in pages: first and length. All other pages are zero, and holes.
    extents: Vec<(u32, u32)>,
    /// Over extents and their content.
    checksum: u64,
}

impl KeptMemory {
    /// The size of the guest's memory, in bytes.
    pub fn length(&self) -> u64 {
        u64::from(self.mib) << 20
    }

    /// What the file holds beside holes, in bytes.
    pub fn content(&self) -> u64 {
        self.extents.iter().map(|(_, length)| u64::from(*length) * PAGE as u64).sum()
    }

    /// Whether a file holds this memory. Reads all of it.
    ///
    /// # Errors
    /// It can't be read.
    pub fn is_in(&self, file: &File) -> io::Result<bool> {
        let mut sum = Checksum::default();
        let mut bytes = vec![0; PIECE];
        for (first, length) in &self.extents {
            let (start, end) = (u64::from(*first) * PAGE as u64, u64::from(first + length) * PAGE as u64);
            for at in (start..end).step_by(PIECE) {
                let piece = &mut bytes[..(end - at).min(PIECE as u64) as usize];
                match file.read_exact_at(piece, at) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    read => read?,
                }
                sum.add(at, piece);
            }
        }
        Ok(sum.finish() == self.checksum && file.metadata()?.len() == self.length())
    }

    fn is_hole(&self, page: u32) -> bool {
        let after = self.extents.partition_point(|(first, _)| *first <= page);
        after.checked_sub(1).is_none_or(|at| page - self.extents[at].0 >= self.extents[at].1)
    }
}

/// A page at a time, so that it does not matter in which pieces the pages come.
#[derive(Default)]
struct Checksum(XxHash64);

impl Checksum {
    fn add(&mut self, at: u64, pages: &[u8]) {
        for (index, page) in pages.chunks(PAGE).enumerate() {
            self.0.write_u64(at + (index * PAGE) as u64);
            self.0.write(page);
        }
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

/// Writes a guest's memory to an empty file. Nothing may write to it meanwhile.
///
/// # Errors
/// The file system has no more room, for instance, or it takes longer than until then (`TimedOut`); the file is then of no use.
pub fn store(memory: &Memory, file: &File, until: Instant) -> io::Result<KeptMemory> {
    let length: u64 = memory.iter().map(GuestMemoryRegion::len).sum();
    file.set_len(length)?;
    let (mut extents, mut sum) = (Vec::<(u32, u32)>::new(), Checksum::default());
    let mut bytes = vec![0; PIECE];
    let mut in_file = 0;
    for region in memory.iter() {
        let written = written(region);
        let pieces = written.iter().flat_map(|range| {
            range.clone().step_by(PIECE).map(|at| (at, (range.end - at).min(PIECE as u64) as usize))
        });
        for (at, length) in pieces {
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let piece = &mut bytes[..length];
            memory
                .read_slice(piece, GuestAddress(region.start_addr().0 + at))
                .map_err(|error| io::Error::other(error.to_string()))?;
            let place = in_file + at;
            for run in runs(piece) {
                let at = place + run.start as u64;
                let pages = &piece[run];
                file.write_all_at(pages, at)?;
                sum.add(at, pages);
                let (first, count) = ((at / PAGE as u64) as u32, (pages.len() / PAGE) as u32);
                match extents.last_mut() {
                    Some((start, length)) if *start + *length == first => *length += count,
                    _ => extents.push((first, count)),
                }
            }
        }
        in_file += region.len();
    }
    Ok(KeptMemory { mib: (length >> 20) as u32, extents, checksum: sum.finish() })
}

/// The parts of a region that anybody has written to, in whole pages. To look at the others would make pages of them, all zero.
/// Where that can't be told it is all of it.
fn written(region: &GuestRegionMmap<AtomicBitmap>) -> Vec<std::ops::Range<u64>> {
    let all: Vec<_> = std::iter::once(0..region.len()).collect();
    let Some(place) = region.file_offset() else { return all };
    let end = place.start() + region.len();
    let find = |at: u64, what| lseek(place.file(), at as i64, what).map(|at| at as u64);
    let mut ranges = Vec::new();
    let mut at = place.start();
    while at < end {
        let data = match find(at, Whence::SeekData) {
            Ok(data) if data < end => data,
            // Nothing comes any more.
            Ok(_) | Err(Errno::ENXIO) => break,
            Err(_) => return all,
        };
        let Ok(hole) = find(data, Whence::SeekHole) else { return all };
        let (first, last) = (data & !(PAGE as u64 - 1), hole.min(end).next_multiple_of(PAGE as u64));
        ranges.push(first - place.start()..last - place.start());
        at = last;
    }
    ranges
}

/// Pages that are not zero, as many as follow each other.
fn runs(piece: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, page) in piece.chunks(PAGE).enumerate() {
        // Words, as the comparison of bytes takes its time where processors are emulated.
        let (words, _) = page.as_chunks::<8>();
        if words.iter().all(|word| u64::from_ne_bytes(*word) == 0) {
            continue;
        }
        let start = index * PAGE;
        match runs.last_mut() {
            Some(run) if run.end == start => run.end += page.len(),
            _ => runs.push(start..start + page.len()),
        }
    }
    runs
}

/// The file of a machine that goes back to its beginning.
pub struct Original {
    kept: KeptMemory,
    regions: Vec<MmapRegion<()>>,
    /// What devices have written to, one bit a page. Like the guest's pages they stay in it once they were written to:
    /// most are written to again.
    by_devices: Vec<Vec<u64>>,
}

/// What going back took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutBack {
    /// So many pages were copied.
    pub pages: u64,
    /// Finding out which.
    pub looking: Duration,
    /// Copying them.
    pub copying: Duration,
}

/// What copying so many pages takes that lie side by side: for comparison.
pub fn plain_copy(pages: u64) -> Duration {
    let from = vec![1; pages as usize * PAGE];
    let mut to = vec![2; from.len()];
    let start = Instant::now();
    to.copy_from_slice(&from);
    let took = start.elapsed();
    // Nobody may find out that it was for nothing.
    std::hint::black_box(&to);
    took
}

/// Memory that begins as what is in a file, and is nobody else's from there on.
///
/// # Errors
/// It can't be mapped. Nobody has looked whether the file holds what it should: see [`KeptMemory::is_in`].
pub fn load(file: File, kept: &KeptMemory) -> Result<(Memory, Original)> {
    let fail = |why: String| Error::Memory { mib: kept.mib, why };
    let file = Arc::new(file);
    let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
    let (mut all, mut regions) = (Vec::new(), Vec::new());
    for Range { start, length, in_file } in ranges(kept.mib) {
        let place = || FileOffset::from_arc(file.clone(), in_file);
        let region = MmapRegionBuilder::new_with_bitmap(length, AtomicBitmap::with_len(length))
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(flags)
            .with_file_offset(place())
            .build()
            .map_err(|e| fail(e.to_string()))?;
        all.push(GuestRegionMmap::new(region, start).ok_or_else(|| fail("it ends nowhere".to_owned()))?);
        let original = MmapRegionBuilder::new(length)
            .with_mmap_prot(libc::PROT_READ)
            .with_mmap_flags(flags)
            .with_file_offset(place())
            .build()
            .map_err(|e| fail(e.to_string()))?;
        regions.push(original);
    }
    let memory = GuestMemoryMmap::from_regions(all).map_err(|e| fail(e.to_string()))?;
    Ok((
        Arc::new(memory),
        Original { kept: kept.clone(), by_devices: vec![Vec::new(); regions.len()], regions },
    ))
}

impl Original {
    /// Puts back what the guest of `vm` and its devices have written. No vCPU may run meanwhile.
    ///
    /// # Errors
    /// KVM does not tell.
    pub fn put_back(&mut self, vm: &Vm) -> Result<PutBack> {
        let start = Instant::now();
        let memory = vm.memory();
        let mut pages: Vec<u64> = vm.written()?;
        for (slot, region) in memory.iter().enumerate() {
            self.note_devices(memory, slot);
            let first = region.start_addr().0 / PAGE as u64;
            for (index, word) in self.by_devices[slot].iter().enumerate().filter(|(_, word)| **word != 0) {
                let bits = (0..64).filter(|bit| word >> bit & 1 == 1);
                pages.extend(bits.map(|bit| (first + index as u64 * 64 + bit) * PAGE as u64));
            }
        }
        pages.sort_unstable();
        pages.dedup();
        let looking = start.elapsed();
        let start = Instant::now();
        for (slot, region) in memory.iter().enumerate() {
            let (first, end) = (region.start_addr().0, region.start_addr().0 + region.len());
            for at in pages.iter().filter(|at| (first..end).contains(*at)) {
                self.copy(memory, slot, ((at - first) / PAGE as u64) as usize)?;
            }
            // This was no write of a device's: the next guest has made none.
            region.get_mmap().bitmap().reset();
        }
        Ok(PutBack { pages: pages.len() as u64, looking, copying: start.elapsed() })
    }

    fn note_devices(&mut self, memory: &Memory, slot: usize) {
        let Some(region) = memory.iter().nth(slot) else { return };
        let written = region.get_mmap().bitmap().get_and_reset();
        let known = &mut self.by_devices[slot];
        known.resize(written.len(), 0);
        known.iter_mut().zip(written).for_each(|(known, written)| *known |= written);
    }

    fn copy(&self, memory: &Memory, slot: usize, page: usize) -> Result<()> {
        let fail = |why: String| Error::Memory { mib: self.kept.mib, why };
        let region = memory.iter().nth(slot).ok_or_else(|| fail("a slot that is none".to_owned()))?;
        let at = page * PAGE;
        let mapping = region.get_mmap();
        let target = VolatileMemory::get_slice(&*mapping, at, PAGE).map_err(|e| fail(e.to_string()))?;
        if self.kept.is_hole(self.number(slot, page)) {
            target.copy_from(&[0u8; PAGE]);
        } else {
            let source = self.regions[slot].get_slice(at, PAGE).map_err(|e| fail(e.to_string()))?;
            source.copy_to_volatile_slice(target);
        }
        Ok(())
    }

    /// Reads something of each page that the file holds. Where that can't be read any more, it ends the process by SIGBUS.
    pub fn touch(&self) {
        let pages = self.kept.extents.iter().flat_map(|(first, length)| *first..first + length);
        // So that none is left out as being of no use.
        std::hint::black_box(pages.filter_map(|page| self.first_byte(page)).fold(0, u8::wrapping_add));
    }

    /// The first byte of a page in the file.
    fn first_byte(&self, page: u32) -> Option<u8> {
        let mut at = page as usize * PAGE;
        for region in &self.regions {
            match at.checked_sub(region.size()) {
                Some(beyond) => at = beyond,
                None => return region.get_ref::<u8>(at).ok().map(|byte| byte.load()),
            }
        }
        None
    }

    /// A page's number in the file.
    fn number(&self, slot: usize, page: usize) -> u32 {
        let before: usize = self.regions[..slot].iter().map(MmapRegion::size).sum();
        (before / PAGE + page) as u32
    }

    /// The first page, by its physical address, that is not as it was saved.
    pub fn first_difference(&self, memory: &Memory) -> Option<GuestAddress> {
        let (mut now, mut then) = (vec![0; PAGE], vec![0; PAGE]);
        for ((slot, region), original) in memory.iter().enumerate().zip(&self.regions) {
            for page in 0..original.size() / PAGE {
                let at = GuestAddress(region.start_addr().0 + (page * PAGE) as u64);
                if self.kept.is_hole(self.number(slot, page)) {
                    then.fill(0);
                } else {
                    original.get_slice(page * PAGE, PAGE).ok()?.copy_to(&mut then[..]);
                }
                if memory.read_slice(&mut now, at).is_err() || now != then {
                    return Some(at);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::create_memory;

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; PAGE]
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Memory with something here and there, in a file.
    fn stored() -> (File, KeptMemory) {
        let memory = create_memory(32).unwrap();
        for (at, byte) in [(0, 1), (1, 2), (300, 3), (8191, 4)] {
            memory.write_slice(&page(byte), GuestAddress(at * PAGE as u64)).unwrap();
        }
        let file = tempfile::tempfile().unwrap();
        let kept = store(&memory, &file, later()).unwrap();
        (file, kept)
    }

    #[test]
    fn zero_pages_take_no_room_and_all_others_come_back() {
        let (file, kept) = stored();
        assert_eq!(kept.extents, [(0, 2), (300, 1), (8191, 1)]);
        assert_eq!((kept.length(), kept.content()), (32 << 20, 4 * PAGE as u64));
        assert!(kept.is_in(&file).unwrap());
        let (memory, original) = load(file, &kept).unwrap();
        assert_eq!(original.first_difference(&memory), None);
        let mut bytes = page(0);
        memory.read_slice(&mut bytes, GuestAddress(300 * PAGE as u64)).unwrap();
        assert_eq!(bytes, page(3));
    }

    #[test]
    fn each_page_of_the_file_is_touched_and_no_other() {
        let (file, kept) = stored();
        let (_memory, original) = load(file, &kept).unwrap();
        let touched = [0, 1, 300, 8191, 8192].map(|page| original.first_byte(page));
        assert_eq!(touched, [Some(1), Some(2), Some(3), Some(4), None]);
        original.touch();
    }

    #[test]
    fn a_disk_that_takes_too_long_is_given_up() {
        let memory = create_memory(32).unwrap();
        memory.write_slice(&page(1), GuestAddress(0)).unwrap();
        let error = store(&memory, &tempfile::tempfile().unwrap(), Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_byte_that_changed_and_a_file_that_was_cut_are_noticed() {
        let (file, kept) = stored();
        file.write_all_at(&[7], 300 * PAGE as u64 + 5).unwrap();
        assert!(!kept.is_in(&file).unwrap());
        let (file, kept) = stored();
        file.set_len(301 * PAGE as u64).unwrap();
        assert!(!kept.is_in(&file).unwrap());
        // A hole at the end that is not there leaves the content as it is.
        let memory = create_memory(32).unwrap();
        let file = tempfile::tempfile().unwrap();
        let kept = store(&memory, &file, later()).unwrap();
        file.set_len(1 << 20).unwrap();
        assert!(!kept.is_in(&file).unwrap());
    }

    #[test]
    fn what_one_machine_writes_is_neither_in_the_file_nor_in_another() {
        let (file, kept) = stored();
        let (one, mut original) = load(file.try_clone().unwrap(), &kept).unwrap();
        let (two, _) = load(file.try_clone().unwrap(), &kept).unwrap();
        let places = [1u64, 2, 300, 5000];
        places.iter().for_each(|at| one.write_slice(&page(9), GuestAddress(at * PAGE as u64)).unwrap());
        assert_eq!(original.first_difference(&one), Some(GuestAddress(PAGE as u64)));
        assert_eq!(original.first_difference(&two), None);
        assert!(kept.is_in(&file).unwrap());
        // Device's writes are remembered, and put back page by page.
        original.note_devices(&one, 0);
        let is_dirty = |page: &usize| original.by_devices[0][page / 64] >> (page % 64) & 1 == 1;
        let dirty: Vec<usize> = (0..8192).filter(is_dirty).collect();
        assert_eq!(dirty, places.map(|at| at as usize));
        dirty.iter().for_each(|at| original.copy(&one, 0, *at).unwrap());
        assert_eq!(original.first_difference(&one), None);
    }
}
