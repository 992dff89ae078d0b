//! Where the kernel patches its own text while it runs, and what may stand there: each place has its own instruction, or none.

use machine::{AddressSpace, GuestVirtualAddress};
use std::ops::Range;
use trap::Landmarks;

/// `struct jump_entry` of include/linux/jump_label.h: the place and where it may lead, each relative to where that stands.
const JUMPS: (&str, &str, u64) = ("__start___jump_table", "__stop___jump_table", 16);
/// `struct static_call_site` of include/linux/static_call_types.h: the place and its record, in the same way.
const CALLS: (&str, &str, u64) = ("__start_static_call_sites", "__stop_static_call_sites", 8);
/// Trampolines of static calls (arch/x86/include/asm/static_call.h).
const TRAMPOLINES: (&str, &str) = ("__static_call_text_start", "__static_call_text_end");
/// So far apart they are at least, in bytes (`.align 4` of an instruction of five).
const TRAMPOLINE: usize = 8;
/// What stands behind the instruction of each: `ud1 %esp, %ecx`, `SCT` before Linux 5.19, and nothing before 5.16.
const SIGNATURES: [[u8; 3]; 2] = [[0x0f, 0xb9, 0xcc], *b"SCT"];
/// Of a record's address: the call is a function's last one, and its place is gone after the boot.
const TAIL: u64 = 1;
const FLAGS: u64 = 3;
/// No table is longer, in bytes.
const MOST: u64 = 16 << 20;

/// `int3`: whoever patches puts it there until all the rest is written (`text_poke_bp_batch` of arch/x86/kernel/alternative.c).
const BREAKPOINT: u8 = 0xcc;
/// An instruction of two bytes that does nothing, and those of five that some kernel had.
const NOTHING_SHORT: [u8; 2] = [0x66, 0x90];
const NOTHING: [[u8; 5]; 3] =
    [[0x0f, 0x1f, 0x44, 0, 0], [0x66, 0x66, 0x66, 0x66, 0x90], [0x3e, 0x8d, 0x74, 0x26, 0]];
/// In place of a call that returns 0, as of Linux 5.18 and before that, and of one that warns
/// (arch/x86/kernel/static_call.c).
const IN_PLACE: [[u8; 5]; 3] =
    [[0x2e, 0x2e, 0x2e, 0x31, 0xc0], [0x66, 0x66, 0x48, 0x31, 0xc0], [0x67, 0x48, 0x0f, 0xb9, 0x3a]];

/// All of them.
pub(super) struct Places {
    space: AddressSpace,
    /// The kernel's text, as linked.
    text: Range<u64>,
    /// By their addresses.
    all: Vec<Place>,
    /// The records of static calls.
    records: Vec<u64>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Place {
    /// As linked.
    pub(super) at: u64,
    /// In bytes.
    pub(super) length: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Nothing, or a jump there.
    Jump { to: u64 },
    /// A static call with this record.
    Call { record: u64 },
    /// The same as the last thing that a function does.
    TailCall { record: u64 },
    /// What those call that are not patched themselves.
    Trampoline,
}

/// What stands in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What may stand there.
    Own,
    /// Somebody is about to write something else.
    UnderWay,
    /// What has no business there.
    Foreign,
}

impl Places {
    /// As the kernel's own tables name them.
    pub(super) fn of(space: &AddressSpace, landmarks: &Landmarks, text: Range<u64>) -> Self {
        let range = |start, end| Some(landmarks.symbol(start)?..landmarks.symbol(end)?);
        let table = |(start, end, size)| {
            let range = range(start, end).unwrap_or_default();
            let bytes = read(space, &range);
            let entries = (range.start..).step_by(size as usize).zip(bytes.chunks_exact(size as usize));
            entries
                .map(|(at, entry)| [relative(at, entry), relative(at + 4, &entry[4..])])
                .collect::<Vec<_>>()
        };
        let inside = |[at, _]: &[u64; 2]| text.contains(at);
        let mut bytes = [0; 2];
        let mut starts_with = |at, wanted: &dyn Fn([u8; 2]) -> bool| {
            space.read(GuestVirtualAddress(at), &mut bytes).is_some() && wanted(bytes)
        };
        let jumps = table(JUMPS).into_iter().filter(inside).map(|[at, to]| {
            let short = starts_with(at, &|bytes| bytes == NOTHING_SHORT || bytes[0] == 0xeb);
            Place { at, length: if short { 2 } else { 5 }, kind: Kind::Jump { to } }
        });
        let mut all: Vec<Place> = jumps.collect();
        let calls = table(CALLS);
        let mut records: Vec<u64> = calls.iter().map(|[_, record]| record & !FLAGS).collect();
        records.sort_unstable();
        records.dedup();
        all.extend(calls.into_iter().filter(inside).map(|[at, record]| {
            let conditional = starts_with(at, &|bytes| bytes[0] == 0x0f && bytes[1] & 0xf0 == 0x80);
            let (tail, record) = (record & TAIL != 0, record & !FLAGS);
            let kind = if tail { Kind::TailCall { record } } else { Kind::Call { record } };
            Place { at, length: if conditional { 6 } else { 5 }, kind }
        }));
        let range = range(TRAMPOLINES.0, TRAMPOLINES.1).unwrap_or_default();
        let code = read(space, &range);
        let signed = code.windows(8).step_by(4).zip((range.start..).step_by(4));
        let signed = signed.filter(|(code, _)| SIGNATURES.iter().any(|signature| code[5..] == *signature));
        let mut trampolines: Vec<u64> = signed.map(|(_, at)| at).collect();
        if trampolines.is_empty() {
            // One begins as a jump, or as a return.
            let each = code.chunks(TRAMPOLINE).zip((range.start..).step_by(TRAMPOLINE));
            let each = each.filter(|(code, _)| code.len() >= 5 && matches!(code[0], 0xe9 | 0xc3));
            trampolines.extend(each.map(|(_, at)| at));
        }
        all.extend(trampolines.into_iter().map(|at| Place { at, length: 5, kind: Kind::Trampoline }));
        all.sort_unstable_by_key(|place| place.at);
        Self { space: space.clone(), text, all, records }
    }

    /// The place that has all of these bytes.
    pub(super) fn at(&self, address: u64, length: u64) -> Option<&Place> {
        let next = self.all.partition_point(|place| place.at + place.length <= address);
        let place = self.all.get(next)?;
        (place.at <= address && address + length <= place.at + place.length).then_some(place)
    }

    /// What a place has. `code` is as long as it.
    pub(super) fn content(&self, place: &Place, code: &[u8]) -> Content {
        let own = match code {
            [BREAKPOINT, ..] => return Content::UnderWay,
            [0xeb, _] | [0xe8 | 0xe9, _, _, _, _] | [0x0f, 0x80..=0x8f, _, _, _, _] => {
                self.may_lead(place, code[0], target(place.at, code))
            }
            // What stands behind it is not reached.
            [0xc3, ..] => matches!(place.kind, Kind::TailCall { .. } | Kind::Trampoline),
            code if code == NOTHING_SHORT || NOTHING.iter().any(|it| code == it) => {
                matches!(place.kind, Kind::Jump { .. } | Kind::Call { .. })
            }
            code => matches!(place.kind, Kind::Call { .. }) && IN_PLACE.iter().any(|it| code == it),
        };
        if own { Content::Own } else { Content::Foreign }
    }

    /// Whether an instruction in this place may lead there. Static calls may lead to anything of the kernel's own, and to what their record
    /// says, which is set before they are (`__static_call_update` of kernel/static_call_inline.c): a function of a module's, or
    /// one that was made of a BPF program. Of a trampoline nobody knows which record is its.
    fn may_lead(&self, place: &Place, opcode: u8, to: u64) -> bool {
        let named = |record: &u64| self.space.read_u64(GuestVirtualAddress(*record)) == Some(to);
        let calls = opcode == 0xe8;
        match place.kind {
            Kind::Jump { to: own } => matches!(opcode, 0xeb | 0xe9) && to == own,
            Kind::Call { record } => calls && (self.text.contains(&to) || named(&record)),
            Kind::TailCall { record } => !calls && (self.text.contains(&to) || named(&record)),
            Kind::Trampoline => opcode == 0xe9 && (self.text.contains(&to) || self.records.iter().any(named)),
        }
    }
}

/// Where an instruction at `at` leads, whose distance is its last four bytes, or its last one.
fn target(at: u64, code: &[u8]) -> u64 {
    let distance = match code {
        [_, distance] => i64::from(distance.cast_signed()),
        code => i32::from_le_bytes(code[code.len() - 4..].try_into().expect("four bytes")).into(),
    };
    at.wrapping_add(code.len() as u64).wrapping_add_signed(distance)
}

/// An address that is relative to its own place.
fn relative(at: u64, entry: &[u8]) -> u64 {
    at.wrapping_add_signed(i32::from_le_bytes(entry[..4].try_into().expect("four bytes")).into())
}

fn read(space: &AddressSpace, range: &Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; range.end.saturating_sub(range.start).min(MOST) as usize];
    match space.read(GuestVirtualAddress(range.start), &mut bytes) {
        Some(()) => bytes,
        None => Vec::new(),
    }
}

#[cfg(test)]
#[path = "places_test.rs"]
mod tests;
