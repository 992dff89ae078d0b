//! A stream of bytes each way between a host and us, on a disk that both have: by Bochs' serial port a byte takes 87 thousand
//! instructions, on its disk a few.
//!
//! The disk has two ways, one to the host and one from it. Each is a ring of sectors, a sector with how many of them were ever
//! written, and one with how many of these were read. Only one side writes to a sector; the number comes after what it counts.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::unix::{fs::FileExt, net::UnixStream},
    thread,
    time::Duration,
};

/// In bytes: what a disk reads and writes as a whole.
const SECTOR: usize = 512;
/// Each begins with the number of its bytes that count, as a little-endian `u16`.
const LENGTH: usize = 2;
/// The sectors of a ring. The side that writes waits while there is no room.
const RING: u64 = 64 << 10;
/// So many go in one command.
const MOST: usize = 128;
/// Where the first ring begins, behind what is counted.
const RINGS: u64 = 8;

/// The shape of the disk (ATA-1, section 7.1): 16 heads and 63 sectors a track are what everybody takes.
pub(super) const HEADS: u64 = 16;
pub(super) const SECTORS_A_TRACK: u64 = 63;
pub(super) const CYLINDERS: u64 = (RINGS + 2 * RING).div_ceil(HEADS * SECTORS_A_TRACK);
/// In bytes.
pub(super) const DISK: u64 = CYLINDERS * HEADS * SECTORS_A_TRACK * SECTOR as u64;

/// Whose end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// That of the host.
    Inside,
    /// Ours.
    Outside,
}

/// One of the two ways, by its number.
#[derive(Clone, Copy)]
struct Way(u64);

impl Way {
    /// The sector that says how much was written.
    fn written(self) -> u64 {
        1 + 2 * self.0
    }

    /// The sector that says how much of it was read.
    fn read(self) -> u64 {
        2 + 2 * self.0
    }

    fn ring(self) -> u64 {
        RINGS + self.0 * RING
    }
}

/// What is read into and written from, past a kernel's cache: it lies where a disk can reach it (open(2), `O_DIRECT`).
#[repr(C, align(4096))]
struct Buffer([u8; MOST * SECTOR]);

/// One end.
pub(super) struct Wire {
    disk: File,
    buffer: Box<Buffer>,
    outgoing: Way,
    incoming: Way,
    /// So many sectors were ever sent.
    sent: u64,
    /// So many of them were seen to be read.
    taken: u64,
    /// So many were ever received.
    received: u64,
}

impl Wire {
    pub(super) fn new(disk: File, side: Side) -> Self {
        let (outgoing, incoming) = match side {
            Side::Outside => (Way(0), Way(1)),
            Side::Inside => (Way(1), Way(0)),
        };
        let buffer = Box::new(Buffer([0; MOST * SECTOR]));
        Self { disk, buffer, outgoing, incoming, sent: 0, taken: 0, received: 0 }
    }

    /// Sends the beginning of these bytes, as much as there is room for. Says how many that were.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wanted = (bytes.len() as u64).div_ceil((SECTOR - LENGTH) as u64).min(MOST as u64);
        if RING - (self.sent - self.taken) < wanted {
            let taken = self.count(self.outgoing.read())?.unwrap_or(self.taken);
            if taken > self.sent || taken < self.taken {
                return Err(io::Error::other(format!("{taken} sectors were read of {}", self.sent)));
            }
            self.taken = taken;
        }
        let at = self.sent % RING;
        let sectors = wanted.min(RING - (self.sent - self.taken)).min(RING - at) as usize;
        if sectors == 0 {
            return Ok(0);
        }
        let whole = &mut self.buffer.0[..sectors * SECTOR];
        whole.fill(0);
        let mut sent = 0;
        for (sector, part) in whole.chunks_mut(SECTOR).zip(bytes.chunks(SECTOR - LENGTH)) {
            sector[..LENGTH].copy_from_slice(&(part.len() as u16).to_le_bytes());
            sector[LENGTH..LENGTH + part.len()].copy_from_slice(part);
            sent += part.len();
        }
        self.disk.write_all_at(whole, place(self.outgoing.ring() + at))?;
        self.sent += sectors as u64;
        self.say(self.outgoing.written(), self.sent)?;
        Ok(sent)
    }

    /// Some of what was sent by the other side; nothing if there is nothing new.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let Some(sent) = self.count(self.incoming.written())? else { return Ok(Vec::new()) };
        let new = sent.checked_sub(self.received).filter(|new| *new <= RING);
        let new = new.ok_or_else(|| {
            io::Error::other(format!("{sent} sectors were written, and {} read before", self.received))
        })?;
        let at = self.received % RING;
        let sectors = new.min(RING - at).min(MOST as u64) as usize;
        if sectors == 0 {
            return Ok(Vec::new());
        }
        let whole = &mut self.buffer.0[..sectors * SECTOR];
        self.disk.read_exact_at(whole, place(self.incoming.ring() + at))?;
        let mut bytes = Vec::new();
        for sector in whole.chunks(SECTOR) {
            let length = usize::from(u16::from_le_bytes([sector[0], sector[1]]));
            let part = sector.get(LENGTH..LENGTH + length);
            bytes.extend_from_slice(part.ok_or_else(|| io::Error::other("a sector is no part of a stream"))?);
        }
        self.received += sectors as u64;
        self.say(self.incoming.read(), self.received)?;
        Ok(bytes)
    }

    /// A number that the other side keeps. `None` while it has none, and in the moment in which it is changed.
    fn count(&mut self, sector: u64) -> io::Result<Option<u64>> {
        let whole = &mut self.buffer.0[..SECTOR];
        self.disk.read_exact_at(whole, place(sector))?;
        let number =
            |at: usize| whole[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(Some(number(0)).filter(|count| *count == !number(8)))
    }

    fn say(&mut self, sector: u64, count: u64) -> io::Result<()> {
        let whole = &mut self.buffer.0[..SECTOR];
        whole.fill(0);
        whole[..8].copy_from_slice(&count.to_le_bytes());
        whole[8..16].copy_from_slice(&(!count).to_le_bytes());
        self.disk.write_all_at(whole, place(sector))
    }
}

/// Where a sector begins, in bytes.
fn place(sector: u64) -> u64 {
    sector * SECTOR as u64
}

/// Carries bytes between a wire and a stream, until that is closed. Looks for new ones after each pause.
///
/// # Errors
/// Disk or stream fail, or the other side does not keep to the rules.
pub(super) fn carry(mut wire: Wire, mut stream: &UnixStream, pause: Duration) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let (mut inward, mut outward) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; MOST * SECTOR];
    loop {
        let mut moved = 0;
        if inward.is_empty() {
            inward = wire.receive()?;
        }
        if let Some(count) = unless_it_would_block(|| stream.write(&inward), inward.is_empty())? {
            inward.drain(..count);
            moved += count;
        }
        if outward.is_empty()
            && let Some(count) = unless_it_would_block(|| stream.read(&mut buffer), false)?
        {
            if count == 0 {
                return Ok(());
            }
            outward.extend_from_slice(&buffer[..count]);
        }
        if !outward.is_empty() {
            let count = wire.send(&outward)?;
            outward.drain(..count);
            moved += count;
        }
        if moved == 0 {
            thread::sleep(pause);
        }
    }
}

/// How much was moved, if that was to be tried and does not have to wait.
fn unless_it_would_block(
    attempt: impl FnOnce() -> io::Result<usize>,
    skip: bool,
) -> io::Result<Option<usize>> {
    if skip {
        return Ok(None);
    }
    match attempt() {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn pair() -> (Wire, Wire) {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(DISK).unwrap();
        (Wire::new(disk.try_clone().unwrap(), Side::Outside), Wire::new(disk, Side::Inside))
    }

    #[test]
    fn the_disk_has_room_for_both_ways() {
        assert!(DISK >= (Way(1).ring() + RING) * SECTOR as u64);
        assert!(Way(1).read() < RINGS);
    }

    #[test]
    fn more_than_the_ring_goes_around_in_it() {
        let (mut outside, mut inside) = pair();
        assert!(inside.receive().unwrap().is_empty());
        let whole: Vec<u8> = (0..50_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut sent, mut received) = (0, Vec::new());
        let mut was_full = false;
        while received.len() < whole.len() {
            let count = outside.send(&whole[sent..]).unwrap();
            was_full |= count == 0 && sent < whole.len();
            sent += count;
            // As much as a ring holds is sent before any of it is read.
            if was_full || sent == whole.len() {
                received.extend(inside.receive().unwrap());
            }
        }
        assert!(was_full && received == whole);
        assert!(inside.receive().unwrap().is_empty() && outside.receive().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives_in_order(parts in vec((any::<bool>(), vec(any::<u8>(), 0..3000)), 0..40)) {
            let (mut outside, mut inside) = pair();
            let (mut there, mut back) = (Vec::new(), Vec::new());
            let (mut came, mut came_back) = (Vec::new(), Vec::new());
            for (is_outside, part) in &parts {
                let (wire, all) =
                    if *is_outside { (&mut outside, &mut there) } else { (&mut inside, &mut back) };
                prop_assert_eq!(wire.send(part).unwrap(), part.len());
                all.extend_from_slice(part);
                if part.len() % 3 == 0 {
                    came.extend(inside.receive().unwrap());
                    came_back.extend(outside.receive().unwrap());
                }
            }
            for (wire, came) in [(&mut inside, &mut came), (&mut outside, &mut came_back)] {
                loop {
                    let new = wire.receive().unwrap();
                    if new.is_empty() {
                        break;
                    }
                    came.extend(new);
                }
            }
            prop_assert!(came == there && came_back == back);
        }
    }

    #[test]
    fn nonsense_on_the_disk_is_an_error() {
        for (sent, sector) in [(RING + 1, [0; SECTOR]), (1, [0xff; SECTOR])] {
            let (mut outside, mut inside) = pair();
            outside.disk.write_all_at(&sector, place(Way(0).ring())).unwrap();
            outside.say(Way(0).written(), sent).unwrap();
            assert!(inside.receive().is_err());
        }
    }

    #[test]
    fn streams_at_both_ends_hear_each_other() {
        let (outside, inside) = pair();
        let ends = [outside, inside].map(|wire| {
            let (ours, its) = UnixStream::pair().unwrap();
            let pump = thread::spawn(move || carry(wire, &its, Duration::from_millis(1)));
            (ours, pump)
        });
        let [(mut near, first), (mut far, second)] = ends;
        let text = vec![7; 3_000_000];
        thread::scope(|scope| {
            scope.spawn(|| near.write_all(&text).unwrap());
            let mut came = vec![0; text.len()];
            far.read_exact(&mut came).unwrap();
            assert!(came == text);
        });
        far.write_all(b"back").unwrap();
        let mut came = [0; 4];
        near.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"back");
        drop((near, far));
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    }
}
