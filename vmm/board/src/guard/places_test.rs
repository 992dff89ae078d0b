use super::*;
use machine::{Memory, create_memory};
use vm_memory::{Bytes, GuestAddress};

/// A page of text, and one of tables and records behind it.
const TEXT: u64 = 0xffff_ffff_8100_0000;
const DATA: u64 = TEXT + 0x1000;
const PLACE: u64 = 0x10_0000;
const RECORD: u64 = DATA + 0x800;
const OTHER_RECORD: u64 = DATA + 0x810;
/// A function of a module's.
const ELSEWHERE: u64 = TEXT + 0x80_0000;

/// Where the places are: two jump labels, a static call, two that are a function's last, one of them conditional, and a trampoline.
const JUMP: u64 = TEXT + 0x10;
const SHORT: u64 = TEXT + 0x20;
const CALL: u64 = TEXT + 0x30;
const TAIL: u64 = TEXT + 0x40;
const CONDITIONAL: u64 = TEXT + 0x50;
const TRAMPOLINE: u64 = TEXT + 0x60;

fn memory() -> Memory {
    let memory = create_memory(2).unwrap();
    let put = |at: u64, value: u64| memory.write_obj(value, GuestAddress(at)).unwrap();
    put(0x1000 + (TEXT >> 39 & 511) * 8, 0x2003);
    put(0x2000 + (TEXT >> 30 & 511) * 8, 0x3003);
    put(0x3000 + (TEXT >> 21 & 511) * 8, 0x4003);
    put(0x4000, PLACE | 3);
    put(0x4008, (PLACE + 0x1000) | 3);
    memory
}

fn write(memory: &Memory, at: u64, bytes: &[u8]) {
    memory.write_slice(bytes, GuestAddress(at - TEXT + PLACE)).unwrap();
}

fn places(memory: &Memory) -> Places {
    // The second one has no signature.
    places_with(memory, &[0xe9, 0, 0, 0, 0, 0x0f, 0xb9, 0xcc, 0xe9, 0, 0, 0, 0, 0, 0, 0])
}

/// With these trampolines.
fn places_with(memory: &Memory, trampolines: &[u8]) -> Places {
    let pair = |at: u64, first: u64, second: u64| {
        for (at, to) in [(at, first), (at + 4, second)] {
            write(memory, at, &(to.wrapping_sub(at) as u32).to_le_bytes());
        }
    };
    pair(DATA, JUMP, TEXT + 0x100);
    pair(DATA + 0x10, SHORT, TEXT + 0x28);
    // One whose place went with the boot.
    pair(DATA + 0x20, ELSEWHERE, ELSEWHERE);
    pair(DATA + 0x100, CALL, RECORD);
    pair(DATA + 0x108, TAIL, RECORD | 1);
    pair(DATA + 0x110, CONDITIONAL, OTHER_RECORD | 1);
    write(memory, SHORT, &[0x66, 0x90]);
    write(memory, CONDITIONAL, &[0x0f, 0x84, 0, 0, 0, 0]);
    write(memory, TRAMPOLINE, trampolines);
    let symbols = [
        ("__start___jump_table", DATA),
        ("__stop___jump_table", DATA + 0x30),
        ("__start_static_call_sites", DATA + 0x100),
        ("__stop_static_call_sites", DATA + 0x118),
        ("__static_call_text_start", TRAMPOLINE),
        ("__static_call_text_end", TRAMPOLINE + trampolines.len() as u64),
    ];
    let symbols = symbols.into_iter().map(|(name, at)| (name.to_owned(), at)).collect();
    let landmarks = Landmarks { symbols, ..Landmarks::default() };
    Places::of(&AddressSpace::new(memory.clone(), 0x1000, 0), &landmarks, TEXT..DATA)
}

/// An instruction with a distance of four bytes.
fn leads(at: u64, opcode: &[u8], to: u64) -> Vec<u8> {
    let distance = to.wrapping_sub(at + opcode.len() as u64 + 4) as u32;
    [opcode, &distance.to_le_bytes()].concat()
}

#[test]
fn a_place_is_as_long_as_its_instruction() {
    let memory = memory();
    let places = places(&memory);
    let found: Vec<(u64, u64)> = places.all.iter().map(|place| (place.at, place.length)).collect();
    assert_eq!(found, [(JUMP, 5), (SHORT, 2), (CALL, 5), (TAIL, 5), (CONDITIONAL, 6), (TRAMPOLINE, 5)]);
    for (at, length) in found {
        assert!(places.at(at, length).is_some() && places.at(at + length - 1, 1).is_some());
        let outside = [(at - 1, 2), (at + 1, length), (at + length, 1)];
        assert!(outside.into_iter().all(|(at, length)| places.at(at, length).is_none()), "{at:#x}");
    }
}

/// Linux 5.10 to 5.15.
#[test]
fn where_no_trampoline_has_a_signature_each_is_told_by_its_instruction() {
    let memory = memory();
    let text = [
        0xe9, 1, 0, 0, 0xe9, 0, 0, 0, 0xc3, 0x90, 0x90, 0x90, 0x90, 0, 0, 0, 0x55, 0, 0, 0, 0, 0, 0, 0, 0xe9,
        0, 0, 0, 0,
    ];
    let places = places_with(&memory, &text);
    let found: Vec<u64> = places
        .all
        .iter()
        .map(|place| place.at)
        .filter(|at| *at >= TRAMPOLINE)
        .map(|at| at - TRAMPOLINE)
        .collect();
    assert_eq!(found, [0, 8, 24]);
    let last = places.at(TRAMPOLINE + 24, 5).unwrap();
    let jump = |to| places.content(last, &leads(TRAMPOLINE + 24, &[0xe9], to));
    assert_eq!((jump(TEXT + 0x100), jump(ELSEWHERE)), (Content::Own, Content::Foreign));
}

#[test]
fn each_place_has_instructions_of_its_own() {
    let memory = memory();
    let places = places(&memory);
    let content = |at: u64, code: &[u8]| places.content(places.at(at, 1).unwrap(), code);
    let own = |at: u64, code: &[u8]| assert_eq!(content(at, code), Content::Own, "{at:#x} {code:x?}");
    let foreign = |at: u64, code: &[u8]| assert_eq!(content(at, code), Content::Foreign, "{at:#x} {code:x?}");
    let near = TEXT + 0x100;
    for nothing in NOTHING {
        own(JUMP, &nothing);
        own(CALL, &nothing);
        [TAIL, TRAMPOLINE].iter().for_each(|at| foreign(*at, &nothing));
    }
    own(JUMP, &leads(JUMP, &[0xe9], near));
    foreign(JUMP, &leads(JUMP, &[0xe9], near + 1));
    foreign(JUMP, &leads(JUMP, &[0xe8], near));
    own(SHORT, &[0x66, 0x90]);
    own(SHORT, &[0xeb, 6]);
    foreign(SHORT, &[0xeb, 7]);
    foreign(JUMP, &[0x66, 0x90, 0, 0, 0]);
    for instead in IN_PLACE {
        own(CALL, &instead);
        [JUMP, TAIL, TRAMPOLINE].iter().for_each(|at| foreign(*at, &instead));
    }
    own(CALL, &leads(CALL, &[0xe8], near));
    foreign(CALL, &leads(CALL, &[0xe9], near));
    for at in [TAIL, TRAMPOLINE] {
        own(at, &leads(at, &[0xe9], near));
        own(at, &[0xc3, 0xcc, 0xcc, 0xcc, 0xcc]);
        foreign(at, &leads(at, &[0xe8], near));
    }
    own(CONDITIONAL, &leads(CONDITIONAL, &[0x0f, 0x84], near));
    foreign(CALL, &[0xc3, 0xcc, 0xcc, 0xcc, 0xcc]);
    for at in [JUMP, CALL, TAIL, TRAMPOLINE] {
        assert_eq!(content(at, &[0xcc, 1, 2, 3, 4]), Content::UnderWay);
        foreign(at, &[0x90; 5]);
        foreign(at, &[]);
    }
}

#[test]
fn a_static_call_leads_out_of_the_kernel_where_its_record_says_so() {
    let memory = memory();
    let places = places(&memory);
    let calls = |at: u64, opcode: &[u8]| {
        places.content(places.at(at, 1).unwrap(), &leads(at, opcode, ELSEWHERE)) == Content::Own
    };
    let all = || {
        let jumps = [JUMP, TAIL, TRAMPOLINE].map(|at| calls(at, &[0xe9]));
        [calls(CALL, &[0xe8]), jumps[0], jumps[1], jumps[2], calls(CONDITIONAL, &[0x0f, 0x84])]
    };
    assert_eq!(all(), [false; 5]);
    write(&memory, RECORD, &ELSEWHERE.to_le_bytes());
    assert_eq!(all(), [true, false, true, true, false]);
    write(&memory, RECORD, &(ELSEWHERE + 1).to_le_bytes());
    write(&memory, OTHER_RECORD, &ELSEWHERE.to_le_bytes());
    assert_eq!(all(), [false, false, false, true, true]);
}

#[test]
fn tables_that_are_not_there_name_no_place() {
    let memory = memory();
    let space = AddressSpace::new(memory.clone(), 0x1000, 0);
    let mut landmarks = Landmarks::default();
    assert!(Places::of(&space, &landmarks, TEXT..DATA).all.is_empty());
    let symbols = [("__start___jump_table", DATA), ("__stop___jump_table", u64::MAX)];
    landmarks.symbols = symbols.map(|(name, at)| (name.to_owned(), at)).into();
    assert!(Places::of(&space, &landmarks, TEXT..DATA).all.is_empty());
}
