//! What a guest writes to the registers of its entries, and what comes to be in them otherwise.

use super::*;
use machine::x86::{EFER, STAR, SYSENTER_EIP};

#[test]
fn an_entry_that_no_register_can_hold_is_the_guests_fault_as_on_hardware() {
    let (mut scripted, done) =
        Scripted::new([Play::WriteMsr(LSTAR, 0x1234_5678_9abc_def0), Play::WriteMsr(LSTAR, ENTRY + 16)]);
    scripted.msrs.insert(LSTAR, ENTRY);
    let remains = play(scripted, [counting()]);
    assert_eq!(remains.end, EndReason::Stopped);
    assert_eq!(done.lock().unwrap().refused, 1);
    // The valid one was done, and is told.
    let moved = EntryWrite { vcpu: 3, msr: LSTAR, from: ENTRY, to: ENTRY + 16, rip: 0 };
    assert_eq!(remains.entry_writes, [moved]);
}

#[test]
fn where_nothing_is_watched_an_entry_may_move() {
    let (mut scripted, _) = Scripted::new([Play::WriteMsr(LSTAR, ENTRY + 16)]);
    scripted.msrs.insert(LSTAR, ENTRY);
    assert_eq!(play(scripted, []).entry_writes, []);
}

#[test]
fn a_register_that_keeps_fewer_bits_has_not_moved_when_it_is_written_again() {
    // As AMD's processors keep SYSENTER_EIP.
    let writes = [Play::WriteMsr(SYSENTER_EIP, ENTRY), Play::WriteMsr(SYSENTER_EIP, ENTRY)];
    let (mut scripted, _) = Scripted::new(writes);
    scripted.width = 32;
    assert_eq!(play(scripted, [counting()]).entry_writes, []);
    // The processor itself has written all of it before.
    let (mut scripted, _) = Scripted::new([Play::WriteMsr(SYSENTER_EIP, ENTRY)]);
    scripted.msrs.insert(SYSENTER_EIP, ENTRY);
    scripted.width = 32;
    assert_eq!(play(scripted, [counting()]).entry_writes, []);
    let (mut scripted, _) =
        Scripted::new([Play::WriteMsr(SYSENTER_EIP, ENTRY), Play::WriteMsr(SYSENTER_EIP, ENTRY + 1)]);
    scripted.width = 32;
    assert_eq!(play(scripted, [counting()]).entry_writes.len(), 1);
}

#[test]
fn writes_without_end_are_kept_up_to_a_number() {
    let writes = (1..1000).map(|at| Play::WriteMsr(LSTAR, ENTRY + at));
    let (scripted, _) = Scripted::new(writes);
    assert_eq!(play(scripted, [counting()]).entry_writes.len(), MOST_ENTRY_WRITES);
}

#[test]
fn no_guest_gets_virtual_machines_of_its_own() {
    let writes = [Play::WriteMsr(EFER, 0xd01 | 1 << 12), Play::WriteMsr(EFER, 0xd01)];
    let (mut scripted, done) = Scripted::new(writes);
    scripted.msrs.insert(EFER, 0x501);
    let remains = play(scripted, [counting()]);
    assert_eq!((remains.end, remains.entry_writes), (EndReason::Stopped, vec![]));
    assert_eq!(done.lock().unwrap().refused, 1);
}

/// As by VMLOAD, which is no write that anybody sees.
#[test]
fn an_entry_that_moved_without_a_write_is_told_once() {
    let (mut scripted, _) = Scripted::new([]);
    scripted.msrs.extend([(LSTAR, ENTRY), (SYSENTER_EIP, ENTRY + 32), (EFER, 0xd01)]);
    let mut entries = Entries::of(&scripted).unwrap();
    assert_eq!(entries.strays(3, &scripted), []);
    scripted.msrs.extend([(LSTAR, ENTRY + 8), (EFER, 0x901)]);
    let name = "MSR_LSTAR".to_owned();
    let stray = Tampering::Register { vcpu: 3, name, from: ENTRY, to: ENTRY + 8 };
    assert_eq!(entries.strays(3, &scripted), [stray]);
    assert_eq!(entries.strays(3, &scripted), []);
    // It is reset, comes up, and is told what it writes by another way.
    scripted.msrs.insert(SYSENTER_EIP, 0);
    assert_eq!(entries.strays(3, &scripted), []);
    for (msr, value) in [(STAR, 0x23), (SYSENTER_EIP, ENTRY + 48), (LSTAR, ENTRY)] {
        assert!(!matches!(entries.write(3, &mut scripted, msr, value).unwrap(), Written::Refused));
    }
    assert_eq!(entries.strays(3, &scripted), []);
}
