//! A program's code and constants: what a step runs has to be what its file held when it was brought into the guest.
//!
//! It is looked at in the memory of the process itself, through its page tables, when that ends and before it becomes another
//! program. So it does not matter by which way a file was replaced, nor what the kernel says of it.

use crate::door::Door;
use machine::{AddressSpace, GuestVirtualAddress, Memory, holds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vm_memory::{Bytes, GuestAddress};

/// What a hash is of, in bytes.
pub const PAGE: u64 = 0x1000;
/// So much of a page is copied at once.
const PIECE: usize = 1024;
/// So many pages are remembered as they are, so that they need not be hashed again.
const MOST_KNOWN: usize = 2048;

/// A page's hash.
pub type Digest = u64;
/// What no guest knows, so that it can make no page of another one's hash.
pub type Key = u64;

/// 2^61 - 1, a prime.
const PRIME: u128 = (1 << 61) - 1;

/// The hash of a page by a key: the polynomial of its 32-bit words at the key, in the field of that prime (Carter and Wegman,
/// "Universal classes of hash functions", 1979). Of two pages no more than 1024 of 2^61 keys make one hash. It takes an
/// instruction a byte, where one that needs no key takes ten, which counts where processors are emulated.
pub fn digest(key: Key, page: &[u8]) -> Digest {
    let key = u128::from(key) % PRIME;
    let square = key * key % PRIME;
    let word = |bytes: &[u8]| u128::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    page.chunks_exact(8).fold(0, |hash, two| {
        let sum = u128::from(hash) * square + word(&two[..4]) * key + word(&two[4..]);
        let folded = (sum & PRIME) + (sum >> 61);
        ((folded & PRIME) + (folded >> 61)) as u64
    })
}

/// What a program has in memory and nobody writes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The key of the hashes.
    pub key: Key,
    /// Addresses of pages, and the hashes of what they hold.
    pub pages: BTreeMap<u64, Digest>,
    /// It may lie anywhere, as a whole; addresses begin at 0 then.
    pub moves: bool,
}

/// Pages as they are, by their hashes under a key.
#[derive(Debug, Default)]
pub(crate) struct Known {
    key: Key,
    pages: BTreeMap<Digest, Vec<u8>>,
}

/// A process that runs a program.
#[derive(Debug)]
pub(crate) struct Running {
    code: Code,
    /// Where it may lie, once it has called.
    bases: Option<Vec<u64>>,
    /// It asked for memory from which code can be run: it may call from what it put there itself.
    makes_code: bool,
}

impl From<Code> for Running {
    fn from(code: Code) -> Self {
        let bases = (!code.moves).then(|| vec![0]);
        Self { code, bases, makes_code: false }
    }
}

impl Running {
    /// It calls from `from`, if that is not 0. Its first call comes from its own code, which tells where that lies, whatever comes
    /// to be in memory later: by a program that loads others, or makes code.
    pub fn calls(
        &mut self,
        (door, nr, args): (Door, u64, &[u64; 6]),
        from: u64,
        user: impl FnOnce() -> Option<AddressSpace>,
        memory: &Memory,
        known: &mut Known,
    ) {
        self.makes_code |= makes_code(door, nr, args);
        if from != 0
            && self.bases.is_none()
            && let Some(user) = user()
        {
            known.under(self.code.key);
            self.bases = Some(self.code.bases(page_of(from), &user, memory, known));
        }
    }

    /// Where what it has in memory is something else, now that it calls from there. Where it lies is not known of one that may lie anywhere
    /// and that nobody saw call.
    pub fn differs(&self, from: u64, user: &AddressSpace, memory: &Memory, known: &mut Known) -> Option<u64> {
        let bases = self.bases.as_ref()?;
        let inside = |base: &u64| self.code.pages.contains_key(&page_of(from).wrapping_sub(*base));
        if from != 0 && !self.makes_code && !bases.iter().any(inside) {
            return Some(from);
        }
        known.under(self.code.key);
        // It lies in one of these places, if any of them has all that it consists of.
        let differ = bases.iter().map(|base| self.code.differs_at(*base, user, memory, known));
        let differ: Option<Vec<u64>> = differ.collect();
        differ.map(|places| places.first().copied().unwrap_or(from))
    }
}

/// The page of a call, whose last byte is the one before.
fn page_of(from: u64) -> u64 {
    from.saturating_sub(1) & !(PAGE - 1)
}

/// Whether a program asks for memory that code can be run from: `mmap`, `mprotect` and `pkey_mprotect` with PROT_EXEC of each table, and the
/// `mmap` of 32-bit programs that has its arguments in memory.
fn makes_code(door: Door, nr: u64, args: &[u64; 6]) -> bool {
    const EXECUTE: u64 = 4;
    let (calls, unknown) = match door {
        Door::Syscall64 => ([9, 10, 329], None),
        Door::Syscall32 | Door::Sysenter | Door::Int80 => ([192, 125, 380], Some(90)),
    };
    unknown == Some(nr) || (calls.contains(&nr) && args[2] & EXECUTE != 0)
}

impl Code {
    /// Where it may lie, if this page is of it.
    fn bases(&self, page: u64, user: &AddressSpace, memory: &Memory, known: &mut Known) -> Vec<u64> {
        let fits = |(at, digest): (&u64, &Digest)| {
            let base = page.checked_sub(*at)?;
            known.is(page, digest, user, memory).filter(|is| *is).map(|_| base)
        };
        self.pages.iter().filter_map(fits).collect()
    }

    fn differs_at(&self, base: u64, user: &AddressSpace, memory: &Memory, known: &mut Known) -> Option<u64> {
        let mut some = false;
        for (at, digest) in &self.pages {
            let at = base.wrapping_add(*at);
            match known.is(at, digest, user, memory) {
                Some(true) => some = true,
                Some(false) => return Some(at),
                // What was not used yet need not be in memory.
                None => {}
            }
        }
        // It has just run.
        let first = self.pages.keys().next().filter(|_| !some)?;
        Some(base.wrapping_add(*first))
    }
}

impl Known {
    /// What was known under another key says nothing.
    fn under(&mut self, key: Key) {
        if self.key != key {
            *self = Self { key, pages: BTreeMap::new() };
        }
    }

    /// Whether a page of the process's is this one; nothing where there is none in memory.
    fn is(&mut self, at: u64, digest: &Digest, user: &AddressSpace, memory: &Memory) -> Option<bool> {
        let place = user.translate(GuestVirtualAddress(at))?;
        if self.pages.get(digest).is_some_and(|page| holds(memory, place, page) == Some(true)) {
            return Some(true);
        }
        let mut page = vec![0; PAGE as usize];
        // Of longer pieces each byte would be a turn of an instruction, which counts where processors are emulated.
        let mut pieces = (place.0..).step_by(PIECE).zip(page.chunks_mut(PIECE));
        let read = pieces.all(|(at, piece)| memory.read_slice(piece, GuestAddress(at)).is_ok());
        let is = read && self::digest(self.key, &page) == *digest;
        if is && self.pages.len() < MOST_KNOWN {
            self.pages.insert(*digest, page);
        }
        Some(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::create_memory;

    /// A process with four pages at 0x5000, of which the second is not in memory. The first holds ones, the others what
    /// their numbers say.
    fn process() -> (Memory, AddressSpace) {
        let memory = create_memory(2).unwrap();
        let tables = [(0x1000, 0x2007), (0x2000, 0x3007), (0x3000, 0x4007)];
        let pages = [(0x4028, 0x8007), (0x4038, 0xa007), (0x4040, 0xb007)];
        for (at, entry) in tables.into_iter().chain(pages) {
            memory.write_obj::<u64>(entry, GuestAddress(at)).unwrap();
        }
        for (at, byte) in [(0x8000, 1), (0xa000, 3), (0xb000, 4)] {
            memory.write_slice(&[byte; PAGE as usize], GuestAddress(at)).unwrap();
        }
        let user = AddressSpace::new(memory.clone(), 0x1000, 0);
        (memory, user)
    }

    fn code(pages: &[(u64, u8)], moves: bool) -> Code {
        let key = 7;
        let pages = pages.iter().map(|(at, byte)| (*at, digest(key, &[*byte; PAGE as usize]))).collect();
        Code { key, pages, moves }
    }

    #[test]
    fn a_page_that_differs_in_a_bit_or_in_order_has_another_hash() {
        let page: Vec<u8> = (0..PAGE).map(|at| (at * 7 % 251) as u8).collect();
        let other = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut page = page.clone();
            change(&mut page);
            digest(0x1234_5678_9abc_def1, &page)
        };
        let mut hashes =
            vec![other(&|_| {}), other(&|page| page.swap(0, 4)), other(&|page| page.rotate_left(8))];
        hashes.extend((0..4096 * 8).step_by(97).map(|bit| other(&|page| page[bit / 8] ^= 1 << (bit % 8))));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
        assert_ne!(digest(5, &page), digest(6, &page));
        assert!(digest(u64::MAX, &[0xff; PAGE as usize]) <= PRIME as u64);
    }

    /// What is said of a process with these pages that has called from one place, and leaves from the other.
    fn differs(code: Code, calls: u64, leaves: u64, asks: [u64; 2], known: &mut Known) -> Option<u64> {
        let (memory, user) = process();
        let mut running = Running::from(code);
        let call = (Door::Syscall64, asks[0], &[0, 0, asks[1], 0, 0, 0]);
        running.calls(call, calls, || Some(user.clone()), &memory, known);
        running.differs(leaves, &user, &memory, known)
    }

    const BRK: [u64; 2] = [12, 7];

    #[test]
    fn what_a_process_runs_is_compared_with_what_was_brought() {
        let mut known = Known::default();
        let mut differs =
            |pages: &[(u64, u8)], moves, from| differs(code(pages, moves), from, from, BRK, &mut known);
        let all = [(0x5000, 1), (0x6000, 2), (0x7000, 3), (0x8000, 4)];
        for from in [0x5123, 0x6000, 0] {
            assert_eq!(differs(&all, false, from), None, "{from:#x}");
        }
        // It calls from elsewhere, or has something else there, or nothing at all.
        assert_eq!(differs(&all, false, 0x9010), Some(0x9010));
        assert_eq!(differs(&[(0x5000, 1), (0x7000, 9)], false, 0x5123), Some(0x7000));
        assert_eq!(differs(&[(0x6000, 2), (0x40_0000, 2)], false, 0), Some(0x6000));
        // Wherever it lies.
        let relative = [(0, 1), (0x1000, 2), (0x2000, 3)];
        assert_eq!(differs(&relative, true, 0x5123), None);
        assert_eq!(differs(&relative, true, 0x7123), None);
        assert_eq!(differs(&relative, true, 0x8123), Some(0x8123));
        assert_eq!(differs(&[(0, 1), (0x2000, 9)], true, 0x5123), Some(0x7000));
        assert_eq!(differs(&relative, true, 0), None, "nobody knows where it lies");
    }

    /// As a loader that is run by its own name, or a program that makes code while it runs.
    #[test]
    fn a_program_that_makes_code_may_leave_from_there() {
        let mut known = Known::default();
        let mut differs = |pages: &[(u64, u8)], moves, calls, asks| {
            differs(code(pages, moves), calls, 0x8123, asks, &mut known)
        };
        let (fixed, relative) = ([(0x5000, 1), (0x7000, 3)], [(0, 1), (0x2000, 3)]);
        for asks in [[9, 5], [10, 4], [329, 7]] {
            assert_eq!(differs(&fixed, false, 0x5123, asks), None, "{asks:?}");
            assert_eq!(differs(&relative, true, 0x5123, asks), None, "{asks:?}");
            // What it is stays what it is.
            assert_eq!(differs(&[(0x5000, 1), (0x7000, 9)], false, 0x5123, asks), Some(0x7000));
            assert_eq!(differs(&[(0, 1), (0x2000, 9)], true, 0x5123, asks), Some(0x7000));
            assert_eq!(
                differs(&relative, true, 0x8123, asks),
                Some(0x8123),
                "it was another one from the beginning"
            );
        }
        for asks in [[9, 3], BRK] {
            assert_eq!(differs(&fixed, false, 0x5123, asks), Some(0x8123), "{asks:?}");
            assert_eq!(differs(&relative, true, 0x5123, asks), Some(0x8123), "{asks:?}");
        }
        let compat = |nr, prot| makes_code(Door::Int80, nr, &[0, 0, prot, 0, 0, 0]);
        assert!(compat(90, 0) && compat(192, 5) && compat(125, 4) && !compat(192, 3) && !compat(9, 7));
    }

    #[test]
    fn a_page_that_was_as_it_should_be_is_looked_at_again() {
        let (memory, user) = process();
        let (running, mut known) = (Running::from(code(&[(0x5000, 1)], false)), Known::default());
        assert_eq!(running.differs(0x5010, &user, &memory, &mut known), None);
        memory.write_obj(0xccu8, GuestAddress(0x8123)).unwrap();
        assert_eq!(running.differs(0x5010, &user, &memory, &mut known), Some(0x5000));
    }
}
