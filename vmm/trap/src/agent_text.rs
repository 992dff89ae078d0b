//! The agent's own code: what it was before anything of a scenario ran, it has to stay.
//!
//! It is looked at through the page tables of whoever runs it, when what a step is about is done: a page of one process's own, as a
//! debugger makes it, counts as well as the one that all share. Where in memory a page lies is the kernel's business.

use machine::{AddressSpace, GuestVirtualAddress, Memory, holds};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use vm_memory::{Bytes, GuestAddress};

const PAGE: u64 = 0x1000;
/// So much of a page is copied at once.
const PIECE: usize = 1024;
/// No agent has more code, in pages.
const MOST_PAGES: usize = 4096;
/// So many changes are told.
const MOST_TOLD: usize = 4;

/// What all vCPUs of a machine know of it.
#[derive(Clone, Debug, Default)]
pub struct AgentText(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// By address, as first seen.
    pages: BTreeMap<u64, Vec<u8>>,
    changed: Vec<u64>,
}

impl AgentText {
    /// Whether nobody has looked yet.
    pub(crate) fn is_unknown(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pages.is_empty()
    }

    /// Looks at all pages in this range that are in memory: new ones are as they should be.
    pub(crate) fn look(&self, (start, end): (u64, u64), user: &AddressSpace, memory: &Memory) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { pages, changed } = &mut *inner;
        let mut now = vec![0; PAGE as usize];
        for at in (start & !(PAGE - 1)..end).step_by(PAGE as usize).take(MOST_PAGES) {
            // The page once, and a piece at a time: of long pieces each byte is a turn of an instruction, which counts where processors
            // are emulated.
            let Some(place) = user.translate(GuestVirtualAddress(at)) else { continue };
            if pages.get(&at).is_some_and(|before| holds(memory, place, before) == Some(true)) {
                continue;
            }
            let mut pieces = (place.0..).step_by(PIECE).zip(now.chunks_mut(PIECE));
            if pieces.any(|(at, piece)| memory.read_slice(piece, GuestAddress(at)).is_err()) {
                continue;
            }
            let Some(before) = pages.get_mut(&at) else {
                pages.insert(at, now.clone());
                continue;
            };
            if let Some(offset) = before.iter().zip(&now).position(|(before, now)| before != now) {
                if changed.len() < MOST_TOLD {
                    changed.push(at + offset as u64);
                }
                // Each change is told once.
                before.clone_from(&now);
            }
        }
    }

    /// Where it was changed since the last time.
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::create_memory;

    #[test]
    fn code_that_is_changed_is_told_once_and_by_its_address() {
        let memory = create_memory(2).unwrap();
        let put = |at: u64, entry: u64| memory.write_obj(entry, GuestAddress(at)).unwrap();
        // The second page of three is not in memory.
        [(0x1000, 0x2007), (0x2000, 0x3007), (0x3000, 0x4007), (0x4028, 0x8007), (0x4038, 0x9007)]
            .into_iter()
            .for_each(|(at, entry)| put(at, entry));
        let user = AddressSpace::new(memory.clone(), 0x1000, 0);
        let text = AgentText::default();
        let look = || text.look((0x5010, 0x7800), &user, &memory);
        assert!(text.is_unknown());
        look();
        look();
        assert!(!text.is_unknown() && text.take().is_empty());
        // It lies elsewhere now, and has one byte changed.
        put(0x4038, 0xa007);
        put(0x4030, 0xb007);
        look();
        assert!(text.take().is_empty());
        memory.write_obj(0xccu8, GuestAddress(0xa123)).unwrap();
        look();
        look();
        assert_eq!(text.take(), [0x7123]);
    }
}
