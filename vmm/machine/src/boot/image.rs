//! A file that is read into guest memory.

use crate::Memory;
use nix::{errno::Errno, sys::sendfile::sendfile};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};
use vm_memory::{
    GuestMemoryBackend, GuestMemoryRegion, ReadVolatile, VolatileMemoryError, VolatileSlice,
    bitmap::BitmapSlice,
};

/// Its bytes go from file to file inside the host's kernel: guest memory is a file, too. Through a mapping each page would have to be
/// faulted in, and cleared, before it is written over.
pub(super) struct Image<'a> {
    file: File,
    memory: &'a Memory,
}

impl<'a> Image<'a> {
    pub fn open(path: &Path, memory: &'a Memory) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, memory })
    }

    /// In bytes.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The file behind this piece of guest memory, and where in it that is; none if it is other memory.
    fn behind<B: BitmapSlice>(&self, piece: &VolatileSlice<'_, B>) -> Option<(&File, u64)> {
        let at = piece.ptr_guard().as_ptr().addr();
        self.memory.iter().find_map(|region| {
            let base = region.as_ptr().addr();
            let within = at.checked_sub(base).filter(|offset| *offset < region.size())? as u64;
            let place = region.file_offset()?;
            Some((place.file(), place.start() + within))
        })
    }
}

impl ReadVolatile for Image<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        piece: &mut VolatileSlice<'_, B>,
    ) -> Result<usize, VolatileMemoryError> {
        if let Some((mut memory, at)) = self.behind(piece) {
            memory.seek(SeekFrom::Start(at)).map_err(VolatileMemoryError::IOError)?;
            // Some file systems can't (sendfile(2)); then nothing was moved.
            match sendfile(memory, &self.file, None, piece.len()) {
                Err(Errno::EINVAL | Errno::ENOSYS) => {}
                moved => return moved.map_err(|errno| VolatileMemoryError::IOError(errno.into())),
            }
        }
        self.file.read_volatile(piece)
    }
}

impl Read for Image<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Image<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn a_file_is_read_to_where_it_belongs() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8 ^ (n >> 8) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let memory = crate::memory::create(3080).unwrap();
        let mut image = Image::open(file.path(), &memory).unwrap();
        assert_eq!(image.length().unwrap(), 100_000);
        // In low memory, at no page's beginning; and above the gap, where the file's offset is another.
        for at in [0x10_0123, (4 << 30) + 0x1fff] {
            image.seek(SeekFrom::Start(7)).unwrap();
            memory.read_exact_volatile_from(GuestAddress(at), &mut image, 90_000).unwrap();
            let mut there = vec![0; 90_002];
            memory.read_slice(&mut there, GuestAddress(at - 1)).unwrap();
            assert_eq!((there[0], &there[1..90_001], there[90_001]), (0, &bytes[7..90_007], 0));
        }
        // Other memory.
        image.seek(SeekFrom::Start(3)).unwrap();
        let mut own = [0u8; 4];
        image.read_exact_volatile(&mut VolatileSlice::from(&mut own[..])).unwrap();
        assert_eq!(own, bytes[3..7]);
        image.seek(SeekFrom::Start(99_000)).unwrap();
        assert!(memory.read_exact_volatile_from(GuestAddress(0), &mut image, 1001).is_err(), "its end");
    }
}
