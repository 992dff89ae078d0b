use super::*;
use machine::create_memory;

const TEXT_AT: u64 = 0xffff_ffff_8100_0000;
const CONSTANTS_AT: u64 = TEXT_AT + 2 * PAGE;
const IDT_AT: u64 = CONSTANTS_AT + PAGE;
/// Where all of that is in physical memory, in its order.
const PLACE: u64 = 0x10_0000;
const ROOT: u64 = 0x1000;
/// One of the kernel's own instructions.
const KERNEL: u64 = TEXT_AT + 8;

/// What the jump label has.
const NOTHING: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];
const JUMP: [u8; 5] = [0xe9, 0xbb, 0, 0, 0];

/// A guest whose kernel has two pages of text, one of constants, and an interrupt table.
fn memory() -> Memory {
    let memory = create_memory(2).unwrap();
    let put = |at: u64, value: u64| memory.write_obj(value, GuestAddress(at)).unwrap();
    put(ROOT + (TEXT_AT >> 39 & 511) * 8, 0x2003);
    put(0x2000 + (TEXT_AT >> 30 & 511) * 8, 0x3003);
    put(0x3000 + (TEXT_AT >> 21 & 511) * 8, 0x4003);
    for page in 0..4 {
        put(0x4000 + page * 8, (PLACE + page * PAGE) | 3);
    }
    memory
}

fn landmarks() -> Landmarks {
    let symbols = [
        ("_text", TEXT_AT),
        // The page's rest is padding.
        ("_etext", CONSTANTS_AT - 0x123),
        ("__start_rodata", CONSTANTS_AT),
        ("__end_rodata", CONSTANTS_AT + PAGE),
        ("_end", IDT_AT + 2 * PAGE),
        ("__start___jump_table", CONSTANTS_AT + 0x100),
        ("__stop___jump_table", CONSTANTS_AT + 0x110),
    ];
    Landmarks {
        symbols: symbols.into_iter().map(|(name, at)| (name.to_owned(), at)).collect(),
        ..Landmarks::default()
    }
}

fn guard(memory: &Memory, patches: bool) -> Guard {
    // One jump label, at 0x40 of the text, which leads to 0x100.
    for (field, to) in [(0x100, TEXT_AT + 0x40), (0x104, TEXT_AT + 0x100)] {
        let distance = to.wrapping_sub(CONSTANTS_AT + field) as u32;
        memory.write_obj(distance, GuestAddress(PLACE + 2 * PAGE + field)).unwrap();
    }
    memory.write_slice(&NOTHING, GuestAddress(PLACE + 0x40)).unwrap();
    let space = AddressSpace::new(memory.clone(), ROOT, 0);
    all_is_loaded(memory);
    Guard::of(memory, &space, &landmarks(), patches, Some(controls())).unwrap()
}

/// What is written from now on, and not by way of the guard, was written by devices.
fn all_is_loaded(memory: &Memory) {
    memory.iter().for_each(|region| region.get_mmap().bitmap().reset());
}

fn controls() -> Controls {
    let idt = (IDT_AT, 0xfff);
    Controls { cr0: CR0, cr3: ROOT, cr4: CR4, efer: EFER, idt, gdt: (1, 2) }
}

#[test]
fn writes_are_done_and_told_where_nobody_may_write() {
    let memory = memory();
    let mut guard = guard(&memory, false);
    let all = PLACE..PLACE + 4 * PAGE;
    assert_eq!(guard.pages(), std::slice::from_ref(&all));
    let guarded = guard.guarded();
    assert!(!guarded.write(PLACE + 4 * PAGE, &[1], 7), "not one of them");
    assert!(guarded.write(PLACE + PAGE + 5, &[1, 2], 7));
    // Nothing changes.
    assert!(guarded.write(PLACE + PAGE + 5, &[1, 2], 7));
    // A jump label, by the kernel, by others, and what is behind it.
    assert!(guarded.write(PLACE + 0x40, &JUMP, KERNEL));
    assert!(guarded.write(PLACE + 0x40, &[8], 7));
    assert!(guarded.write(PLACE + 0x44, &[8; 2], KERNEL));
    assert_eq!(memory.read_obj::<u16>(GuestAddress(PLACE + PAGE + 5)).unwrap(), 0x201);
    let code = |address, from: &[u8], to: &[u8], rip| Tampering::Code {
        address,
        from: from.to_vec(),
        to: to.to_vec(),
        rip,
        by: None,
    };
    let told = guard.compare(&[]);
    let expected = [
        code(TEXT_AT + PAGE + 5, &[0, 0], &[1, 2], 7),
        code(TEXT_AT + 0x40, &[0xe9], &[8], 7),
        code(TEXT_AT + 0x44, &[0, 0], &[8, 8], KERNEL),
    ];
    assert_eq!(told, expected);
    assert_eq!(guard.compare(&[]), [], "once");
    (0..200).for_each(|at| assert!(guarded.write(PLACE + 0x200 + at, &[1], 7)));
    assert_eq!(guard.compare(&[]).len(), MOST_TOLD);
}

#[test]
fn what_the_kernel_is_about_to_patch_is_told_once_nobody_finishes_it() {
    let memory = memory();
    let mut guard = guard(&memory, false);
    let guarded = guard.guarded();
    let write = |at: u64, bytes: &[u8]| assert!(guarded.write(PLACE + 0x40 + at, bytes, KERNEL));
    // As the kernel does it.
    write(0, &[0xcc]);
    assert!(guard.is_under_way());
    write(1, &JUMP[1..]);
    assert!(guard.is_under_way());
    write(0, &JUMP[..1]);
    assert!(!guard.is_under_way());
    assert_eq!((guard.compare(&[]), guard.overdue()), (vec![], vec![]));
    // It stays a breakpoint.
    write(0, &[0xcc]);
    assert_eq!(guard.compare(&[]), []);
    let code = |from: &[u8], to: &[u8]| Tampering::Code {
        address: TEXT_AT + 0x40,
        from: from.to_vec(),
        to: to.to_vec(),
        rip: KERNEL,
        by: None,
    };
    assert_eq!(guard.overdue(), [code(&JUMP, &[0xcc, 0xbb, 0, 0, 0])]);
    assert_eq!(guard.overdue(), []);
    // Another jump, though it is put back at once, in the kernel's own way.
    write(0, &JUMP);
    write(0, &[0xcc]);
    write(1, &[0xbc]);
    write(0, &[0xe9]);
    write(1, &[0xbb]);
    assert_eq!(guard.compare(&[]), [code(&JUMP, &[0xe9, 0xbc, 0, 0, 0])]);
    assert!(!guard.is_under_way());
}

#[test]
fn a_kernel_that_may_patch_itself_may_do_so_in_all_its_text() {
    let memory = memory();
    let mut guard = guard(&memory, true);
    assert!(guard.guarded().write(PLACE + PAGE, &[0xcc], KERNEL));
    assert_eq!(guard.compare(&[]), []);
    // But others may not, and nobody changes its constants.
    assert!(guard.guarded().write(PLACE + PAGE, &[0xcd], 7));
    assert!(guard.guarded().write(PLACE + 2 * PAGE, &[0xcc], KERNEL));
    assert_eq!(guard.compare(&[]).len(), 2);
}

#[test]
fn registers_and_gates_have_to_stay_and_flags_that_protect_nothing_do_not() {
    let memory = memory();
    let mut guard = guard(&memory, false);
    let before = controls();
    assert_eq!(guard.compare(&[(0, before)]), []);
    assert_eq!(
        guard.compare(&[(0, Controls { cr0: CR0 | 8, cr4: CR4 | 1 << 7, gdt: (1, 9), ..before })]),
        []
    );
    let told = guard.compare(&[(0, Controls { cr0: before.cr0 & !(1 << 16), ..before })]);
    assert!(matches!(&told[..], [Tampering::Register { vcpu: 0, name, .. }] if name == "CR0"), "{told:?}");
    guard.compare(&[(0, before)]);
    memory.write_obj(1u8, GuestAddress(PLACE + 3 * PAGE + 0x80 * 16)).unwrap();
    assert_eq!(guard.compare(&[(0, before)]), [Tampering::Gate { vcpu: 0, vector: 0x80 }]);
    // One that comes up now is compared from now on.
    assert_eq!(guard.compare(&[(0, before), (1, Controls { efer: 0, ..before })]), []);
    // One that is down has nothing to compare.
    assert_eq!(guard.compare(&[(1, Controls::default())]), []);
}

#[test]
fn every_bit_that_protects_and_every_table_s_place_is_compared() {
    let memory = memory();
    let before = controls();
    let mut changed = Vec::new();
    for bit in (0..64).map(|bit| 1u64 << bit) {
        // Without paging it is down.
        if CR0 & bit != 0 && bit != 1 << 31 {
            changed.push(("CR0", Controls { cr0: CR0 & !bit, ..before }));
        }
        if CR4 & bit != 0 {
            changed.push(("CR4", Controls { cr4: CR4 & !bit, ..before }));
        }
        if EFER & bit != 0 {
            changed.push(("EFER", Controls { efer: EFER & !bit, ..before }));
        }
    }
    assert_eq!(changed.len(), 8);
    changed.push(("IDTR.limit", Controls { idt: (IDT_AT, 0x7ff), ..before }));
    changed.push(("GDTR", Controls { gdt: (9, 2), ..before }));
    for (register, now) in changed {
        let mut guard = guard(&memory, false);
        assert_eq!(guard.compare(&[(0, before)]), []);
        let told = guard.compare(&[(0, now)]);
        let is_it = matches!(&told[..], [Tampering::Register { vcpu: 0, name, .. }] if name == register);
        assert!(is_it, "{register} {now:?}: {told:?}");
    }
}

#[test]
fn the_image_has_to_stay_where_it_is_mapped() {
    let memory = memory();
    let mut guard = guard(&memory, false);
    assert_eq!(guard.compare(&[(0, controls())]), []);
    memory.write_obj::<u64>(0x18_0003, GuestAddress(0x4008)).unwrap();
    let moved = Tampering::Mapping { address: TEXT_AT + PAGE, from: Some(PLACE + PAGE), to: Some(0x18_0000) };
    // By the vCPU's tables, and by the kernel's own.
    assert_eq!(guard.compare(&[(0, controls())]), [moved.clone(), moved]);
}

#[test]
fn writes_to_the_interrupt_table_are_told_by_the_gate() {
    let memory = memory();
    let mut guard = guard(&memory, true);
    assert_eq!(guard.compare(&[(0, controls())]), []);
    let guarded = guard.guarded();
    // There and back.
    assert!(guarded.write(PLACE + 3 * PAGE + 0x80 * 16, &[4], 7));
    assert!(guarded.write(PLACE + 3 * PAGE + 0x80 * 16, &[0], 7));
    assert_eq!(guard.compare(&[(0, controls())]), [Tampering::Gate { vcpu: 0, vector: 0x80 }]);
}

#[test]
fn a_device_that_writes_there_is_told() {
    let memory = memory();
    let mut guard = guard(&memory, false);
    // A page that the kernel has patched itself, too.
    assert!(guard.guarded().write(PLACE + 0x40, &JUMP, KERNEL));
    assert_eq!(guard.compare(&[]), []);
    memory.write_obj(1u8, GuestAddress(PLACE + 0x80)).unwrap();
    memory.write_obj(1u8, GuestAddress(PLACE + 2 * PAGE)).unwrap();
    let told = |address| Tampering::Device { address };
    assert_eq!(guard.compare(&[]), [told(TEXT_AT), told(CONSTANTS_AT)]);
    assert_eq!(guard.compare(&[]), [], "once");
}

#[test]
fn a_write_of_the_guests_own_does_not_hide_that_of_a_device() {
    let memory = memory();
    let told = |address| Tampering::Device { address };
    let by_device = |at: u64, value: u8| memory.write_obj(value, GuestAddress(PLACE + at)).unwrap();
    // Before the first write that the guest makes there.
    let mut guard = guard(&memory, true);
    by_device(0x80, 1);
    assert!(guard.guarded().write(PLACE + 0x40, &[9], KERNEL));
    assert_eq!(guard.compare(&[]), [told(TEXT_AT)]);
    // Behind it, and put back by the guest, which may.
    let mut guard = self::guard(&memory, true);
    assert!(guard.guarded().write(PLACE + 0x40, &[8], KERNEL));
    by_device(0x80, 2);
    assert!(guard.guarded().write(PLACE + 0x80, &[1], KERNEL));
    assert_eq!(guard.compare(&[]), [told(TEXT_AT)]);
    assert_eq!(guard.compare(&[]), [], "once");
}

#[test]
fn what_was_written_before_it_was_watched_was_there() {
    let memory = memory();
    let before = guard(&memory, true).guarded();
    // As after a reset in place: the pages are protected still, and nobody watches.
    assert!(before.write(PLACE + 0x40, &[9; 5], KERNEL));
    let space = AddressSpace::new(memory.clone(), ROOT, 0);
    let mut guard = Guard::of(&memory, &space, &landmarks(), true, Some(controls())).unwrap();
    assert_eq!(guard.compare(&[]), []);
    assert!(guard.guarded().write(PLACE + 0x40, &[8], KERNEL));
    assert_eq!(guard.compare(&[]), []);
    memory.write_obj(1u8, GuestAddress(PLACE + 0x80)).unwrap();
    assert_eq!(guard.compare(&[]), [Tampering::Device { address: TEXT_AT }]);
}

/// The kernel's variables, on the page behind the interrupt table.
const VARIABLES_AT: u64 = IDT_AT + PAGE;

/// With variables, and of a kernel that patches where it wants.
fn guard_of_variables(memory: &Memory) -> Guard {
    memory.write_obj((PLACE + 4 * PAGE) | 3, GuestAddress(0x4000 + 4 * 8)).unwrap();
    let space = AddressSpace::new(memory.clone(), ROOT, 0);
    let mut landmarks = landmarks();
    let names = ["suppress_printk", "tainted_mask", "warn_count", "oops_count", "prb"];
    for (at, name) in (0..).zip(names) {
        landmarks.symbols.insert(name.to_owned(), VARIABLES_AT + at * 8);
    }
    all_is_loaded(memory);
    Guard::of(memory, &space, &landmarks, false, None).unwrap()
}

#[test]
fn variables_are_compared_as_they_may_change() {
    let memory = memory();
    let mut guard = guard_of_variables(&memory);
    let put = |at: u64, value: u32| memory.write_obj(value, GuestAddress(PLACE + 4 * PAGE + at)).unwrap();
    let mut told = || guard.compare(&[(0, controls())]);
    // What lies behind the first is another one.
    put(4, 7);
    assert_eq!(told(), []);
    put(0, 1);
    let variable =
        |name: &str, from, to| vec![Tampering::Variable { name: name.into(), from, to, rip: None, by: None }];
    assert_eq!(told(), variable("suppress_printk", 0, 1));
    assert_eq!(told(), []);
    put(8, 1);
    put(16, 2);
    assert_eq!(told(), []);
    put(8, 3);
    assert_eq!(told(), []);
    put(8, 2);
    assert_eq!(told(), [Tampering::Taint { from: 3, to: 2, rip: None, by: None }]);
    put(16, 1);
    assert_eq!(told(), variable("warn_count", 2, 1));
    put(24, 1);
    assert_eq!(told(), []);
    put(24, 0);
    assert_eq!(told(), variable("oops_count", 1, 0));
    put(32, 0x5000);
    assert_eq!(told(), variable("prb", 0, 0x5000), "the log is elsewhere");
    // Another page behind the address.
    memory.write_obj::<u64>(0x18_0003, GuestAddress(0x4000 + 4 * 8)).unwrap();
    let moved =
        Tampering::Mapping { address: VARIABLES_AT, from: Some(PLACE + 4 * PAGE), to: Some(0x18_0000) };
    assert_eq!(told(), [moved.clone(), moved]);
}

#[test]
fn a_write_to_the_taint_is_looked_at_where_a_breakpoint_is_left() {
    let memory = memory();
    let mut guard = guard_of_variables(&memory);
    let guarded = guard.guarded();
    let taint = VARIABLES_AT + 8;
    let on = Condition::Data { kind: 1, length: 2 };
    assert_eq!(guarded.breakpoints(), [Breakpoint { address: taint, on, need: Need::Spare }]);
    // There and back.
    for value in [1u64, 0] {
        memory.write_obj(value, GuestAddress(PLACE + 4 * PAGE + 8)).unwrap();
        guarded.look(Some(7));
    }
    let told = Tampering::Taint { from: 1, to: 0, rip: Some(7), by: None };
    assert_eq!(guard.compare(&[(0, controls())]), [told]);
    assert_eq!(guard.compare(&[(0, controls())]), []);
}

#[test]
fn warnings_that_are_given_once_are_silenced_by_nobody() {
    let memory = memory();
    memory.write_obj((PLACE + 4 * PAGE) | 3, GuestAddress(0x4000 + 4 * 8)).unwrap();
    let space = AddressSpace::new(memory.clone(), ROOT, 0);
    let mut landmarks = landmarks();
    let at = |offset| VARIABLES_AT + offset;
    let symbols =
        [("warn_count", at(0)), ("__start___bug_table", at(0x100)), ("__stop___bug_table", at(0x118))];
    landmarks.symbols.extend(symbols.map(|(name, at)| (name.to_owned(), at)));
    let mut guard = Guard::of(&memory, &space, &landmarks, false, None).unwrap();
    let put = |at: u64, value: u8| memory.write_obj(value, GuestAddress(PLACE + 4 * PAGE + at)).unwrap();
    let mut told = || [guard.compare(&[]), guard.overdue()].concat();
    // One is given, and counted; and it is to be given once more.
    put(0, 1);
    put(0x10a, 4);
    assert_eq!(told(), []);
    put(0x10a, 0);
    assert_eq!(told(), []);
    let table =
        |from, to| vec![Tampering::Variable { name: "__bug_table".into(), from, to, rip: None, by: None }];
    put(0x116, 4);
    assert_eq!(told(), table(0, 4), "one that nobody counted");
    put(0x10a, 2);
    assert_eq!(told(), table(0, 2));
    assert_eq!(told(), []);
    // While it is written into the log it is not counted.
    put(0x116, 0);
    assert!(guard.compare(&[]).is_empty() && !guard.is_under_way());
    put(0x116, 4);
    assert!(guard.compare(&[]).is_empty() && guard.is_under_way());
    put(0, 2);
    assert!(!guard.is_under_way());
    assert_eq!((guard.overdue(), guard.compare(&[])), (vec![], vec![]));
}

#[test]
fn a_kernel_that_panics_may_stop_logging_and_counts_nothing_more() {
    let memory = memory();
    memory.write_obj((PLACE + 4 * PAGE) | 3, GuestAddress(0x4000 + 4 * 8)).unwrap();
    let space = AddressSpace::new(memory.clone(), ROOT, 0);
    let mut landmarks = landmarks();
    let at = |offset| VARIABLES_AT + offset;
    let symbols = [
        ("warn_count", at(0)),
        ("suppress_printk", at(8)),
        ("panic_cpu", at(16)),
        ("__start___bug_table", at(0x100)),
        ("__stop___bug_table", at(0x10c)),
    ];
    landmarks.symbols.extend(symbols.map(|(name, at)| (name.to_owned(), at)));
    let put = |at: u64, value: u32| memory.write_obj(value, GuestAddress(PLACE + 4 * PAGE + at)).unwrap();
    put(16, u32::MAX);
    let mut guard = Guard::of(&memory, &space, &landmarks, false, None).unwrap();
    // Of a warning, with `panic_on_warn`.
    put(0x108, 4 << 16);
    assert!(guard.is_under_way());
    put(16, 1);
    put(8, 1);
    assert!(!guard.is_under_way());
    assert_eq!(guard.compare(&[]), []);
    // It lives on.
    put(16, u32::MAX);
    let name = "suppress_printk".to_owned();
    let silent = Tampering::Variable { name, from: 0, to: 1, rip: None, by: None };
    assert_eq!(guard.compare(&[]), [silent]);
    assert!(guard.is_under_way());
    assert_eq!((guard.overdue().len(), guard.compare(&[])), (1, vec![]));
}

#[test]
fn the_kernels_own_top_table_stays() {
    let memory = memory();
    let mut guard = guard(&memory, false);
    memory.write_obj::<u64>(0x2003 | 1 << 5, GuestAddress(ROOT + 511 * 8)).unwrap();
    assert_eq!(guard.compare(&[]), [], "it was used");
    // The same tables elsewhere: a copy.
    let mut copy = [0; 0x1000];
    memory.read_slice(&mut copy, GuestAddress(0x2000)).unwrap();
    memory.write_slice(&copy, GuestAddress(0x9000)).unwrap();
    memory.write_obj::<u64>(0x9003, GuestAddress(ROOT + 511 * 8)).unwrap();
    let name = "init_top_pgt[511]".to_owned();
    let told = Tampering::Variable { name, from: 0x2003, to: 0x9003, rip: None, by: None };
    assert_eq!(guard.compare(&[]), [told]);
    assert_eq!(guard.compare(&[]), []);
}
