//! A program's code and constants: what a step runs has to be what its file held when it was brought into the guest.
//!
//! It is looked at in the memory of the process itself, through its page tables, when that ends and before it becomes another
//! program. So it does not matter by which way a file was replaced, nor what the kernel says of it.

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

impl Code {
    /// Where what a process has in memory is something else. It calls from `from`, if that is not 0; where it lies is known
    /// by that, so that nothing is said without it of one that may lie anywhere.
    pub(crate) fn differs(
        &self,
        from: u64,
        user: &AddressSpace,
        memory: &Memory,
        known: &mut Known,
    ) -> Option<u64> {
        if known.key != self.key {
            *known = Known { key: self.key, pages: BTreeMap::new() };
        }
        // The byte before is the call's own.
        let caller = from.saturating_sub(1) & !(PAGE - 1);
        if !self.moves {
            let outside = from != 0 && !self.pages.contains_key(&caller);
            return if outside { Some(from) } else { self.differs_at(0, user, memory, known) };
        }
        if from == 0 {
            return None;
        }
        let mut bases = self.pages.iter().filter_map(|(at, digest)| {
            let base = caller.checked_sub(*at)?;
            known.is(caller, digest, user, memory).filter(|is| *is).map(|_| base)
        });
        let bases: Vec<u64> = bases.by_ref().collect();
        let fits = bases.into_iter().any(|base| self.differs_at(base, user, memory, known).is_none());
        (!fits).then_some(from)
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

    #[test]
    fn what_a_process_runs_is_compared_with_what_was_brought() {
        let (memory, user) = process();
        let mut known = Known::default();
        let mut differs =
            |pages: &[(u64, u8)], moves, from| code(pages, moves).differs(from, &user, &memory, &mut known);
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
        assert_eq!(differs(&[(0, 1), (0x2000, 9)], true, 0x5123), Some(0x5123));
        assert_eq!(differs(&relative, true, 0), None, "nobody knows where it lies");
    }

    #[test]
    fn a_page_that_was_as_it_should_be_is_looked_at_again() {
        let (memory, user) = process();
        let (code, mut known) = (code(&[(0x5000, 1)], false), Known::default());
        assert_eq!(code.differs(0x5010, &user, &memory, &mut known), None);
        memory.write_obj(0xccu8, GuestAddress(0x8123)).unwrap();
        assert_eq!(code.differs(0x5010, &user, &memory, &mut known), Some(0x5000));
    }
}
