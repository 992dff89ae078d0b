use super::*;
use machine::{Memory, create_memory};
use vm_memory::{Bytes, GuestAddress};

const BUFFER: u64 = 0x5000;

/// A page of user memory at [`BUFFER`].
fn memory() -> Memory {
    let memory = create_memory(2).unwrap();
    for (at, entry) in [(0x1000, 0x2007_u64), (0x2000, 0x3007), (0x3000, 0x4007), (0x4028, 0x8007)] {
        memory.write_obj(entry, GuestAddress(at)).unwrap();
    }
    memory.write_slice(b"hello", GuestAddress(0x8000)).unwrap();
    memory
}

fn user(memory: &Memory) -> Option<AddressSpace> {
    Some(AddressSpace::new(memory.clone(), 0x1000, 0))
}

fn wanted(nr: u64, args: Vec<Arg>) -> Call {
    Call { door: protocol::Door::Syscall64, nr, args }
}

fn call(args: Vec<Arg>) -> Witness {
    let witness = Witness::default();
    witness.expect(Some(Expected::Rounds { calls: vec![wanted(7, args)], times: 1 }), Some(0));
    witness
}

#[test]
fn a_call_that_looks_as_it_should_brings_result_and_buffers() {
    let memory = memory();
    let witness = call(vec![Arg::Int(3), Arg::InOut(b"hello".to_vec())]);
    let args = [3, BUFFER, 9, 9, 9, 9];
    witness.entered(Door::Syscall64, 7, &args, Caller::Task(1), || user(&memory));
    memory.write_slice(b"HELLO", GuestAddress(0x8000)).unwrap();
    // Another task's.
    witness.returned(|| Caller::Task(2), 7, 4, || user(&memory));
    witness.returned(|| Caller::Task(1), 7, 5, || user(&memory));
    let seen = witness.sighting();
    assert_eq!((seen.entered, seen.differs, seen.result), (1, None, Some(5)));
    assert_eq!(seen.buffers, Some(vec![b"HELLO".to_vec()]));
    witness.expect(None, Some(0));
    assert_eq!(witness.sighting(), Sighting::default());
}

#[test]
fn of_what_was_read_so_much_is_looked_at() {
    let memory = memory();
    let seen = |nr, result| {
        let witness = Witness::default();
        let call = wanted(nr, vec![Arg::Int(3), Arg::Out(5)]);
        witness.expect(Some(Expected::Rounds { calls: vec![call], times: 1 }), Some(0));
        witness.entered(Door::Syscall64, nr, &[3, BUFFER, 5, 0, 0, 0], Caller::Task(1), || user(&memory));
        witness.returned(|| Caller::Task(1), nr, result, || user(&memory));
        witness.sighting().buffers.unwrap().concat()
    };
    assert_eq!((seen(0, 2), seen(0, -9), seen(0, 99)), (b"he".to_vec(), vec![], b"hello".to_vec()));
    assert_eq!(seen(7, 2), b"hello");
}

#[test]
fn what_differs_is_told() {
    let memory = memory();
    let seen = |args: Vec<Arg>, nr, registers: [u64; 6]| {
        let witness = call(args);
        witness.entered(Door::Syscall64, nr, &registers, Caller::Task(1), || user(&memory));
        witness.sighting().differs
    };
    let at = [BUFFER, 0, 0, 0, 0, 0];
    assert_eq!(seen(vec![], 8, [0; 6]), Some(Difference::Number { wanted: 7, seen: 8 }));
    assert_eq!(
        seen(vec![Arg::Int(1)], 7, [2; 6]),
        Some(Difference::Argument { index: 1, wanted: 1, seen: 2 })
    );
    assert_eq!(seen(vec![Arg::In(b"hellO".to_vec())], 7, at), Some(Difference::Bytes { index: 1 }));
    assert_eq!(seen(vec![Arg::In(b"hello".to_vec())], 7, at), None);
    // Not in memory: nothing is known.
    assert_eq!(seen(vec![Arg::In(b"hello".to_vec())], 7, [0x10_0000; 6]), None);
    let witness = call(vec![]);
    witness.entered(Door::Syscall64, 7, &[0; 6], Caller::Task(1), || None);
    witness.returned(|| Caller::Task(1), 39, 0, || None);
    assert_eq!(witness.sighting().differs, Some(Difference::Dispatched { entered: 7, handled: 39 }));
}

#[test]
fn repeated_calls_are_counted_and_the_last_result_is_kept() {
    let seen = |results: &[i64]| {
        let witness = Witness::default();
        witness.expect(Some(Expected::Rounds { calls: vec![wanted(7, vec![])], times: 3 }), Some(0));
        for result in results {
            assert!(witness.entered(Door::Syscall64, 7, &[0; 6], Caller::Task(1), || None));
            witness.returned(|| Caller::Task(1), 7, *result, || None);
        }
        let seen = witness.sighting();
        (seen.result, seen.fewer.is_some())
    };
    assert_eq!(seen(&[1, 2, 3]), (Some(3), false));
    assert_eq!(seen(&[1, 2]), (Some(2), true));
    assert_eq!(seen(&[1, -9]), (Some(-9), false), "the agent stops there");
    assert_eq!(seen(&[-9, -9]), (Some(-9), true));
    assert_eq!(seen(&[]), (None, false));
}

/// A handler that has a call begin anew says so to the kernel, and makes the agent believe that it has made more.
#[test]
fn a_call_that_begins_anew_is_one_call() {
    let witness = Witness::default();
    witness.expect(Some(Expected::Rounds { calls: vec![wanted(7, vec![])], times: 3 }), Some(0));
    (0..3).for_each(|_| {
        witness.entered(Door::Syscall64, 7, &[0; 6], Caller::Task(1), || None);
    });
    witness.returned(|| Caller::Task(1), 7, 0, || None);
    let seen = witness.sighting();
    assert_eq!((seen.entered, seen.result, seen.fewer), (3, Some(0), Some(1)));
}

#[test]
fn what_the_first_round_wrote_to_need_not_hold_what_went_in() {
    let memory = memory();
    let witness = Witness::default();
    let calls = vec![wanted(7, vec![Arg::InOut(b"hello".to_vec())])];
    witness.expect(Some(Expected::Rounds { calls, times: 3 }), Some(0));
    let fits = ["HELLO", "again", "again"].map(|writes| {
        let fits = witness.entered(Door::Syscall64, 7, &[BUFFER; 6], Caller::Task(1), || user(&memory));
        memory.write_slice(writes.as_bytes(), GuestAddress(0x8000)).unwrap();
        witness.returned(|| Caller::Task(1), 7, 0, || user(&memory));
        fits
    });
    let seen = witness.sighting();
    assert_eq!((fits, seen.differs), ([true; 3], None));
    assert_eq!(seen.buffers, Some(vec![b"again".to_vec()]));
}

#[test]
fn the_agents_code_is_looked_at_once_what_the_step_is_about_is_done() {
    let witness = Witness::default();
    let made = |main| {
        witness.expect(Some(Expected::Rounds { calls: vec![wanted(7, vec![])], times: 1 }), main);
        witness.entered(Door::Syscall64, 7, &[0; 6], Caller::Task(1), || None);
        let before = witness.is_due(20);
        witness.returned(|| Caller::Task(1), 7, 0, || None);
        [before, witness.is_due(20), witness.is_due(20), witness.is_due(1)]
    };
    assert_eq!(made(Some(0)), [false, true, false, true]);
    assert_eq!(made(None), [false; 4]);
    witness.expect(None, Some(0));
    let exit = Exit { pid: Some(30), status: 0, took: Duration::ZERO, group: true, main: true };
    witness.exits(exit, |_| false);
    assert!(witness.is_due(1) && !witness.is_due(1));
}

/// Two calls, twice; one is begun anew after a signal.
#[test]
fn several_calls_come_in_their_order() {
    let seen = |calls: &[(u64, Option<i64>)]| {
        let witness = Witness::default();
        witness.expect(
            Some(Expected::Rounds { calls: vec![wanted(7, vec![]), wanted(8, vec![])], times: 2 }),
            Some(0),
        );
        for (nr, result) in calls {
            witness.entered(Door::Syscall64, *nr, &[0; 6], Caller::Task(1), || None);
            if let Some(result) = result {
                witness.returned(|| Caller::Task(1), *nr, *result, || None);
            }
        }
        let seen = witness.sighting();
        (seen.differs.is_some(), seen.result, seen.fewer.is_some())
    };
    let all = [(7, Some(0)), (8, Some(0)), (7, Some(0)), (8, Some(3))];
    assert_eq!(seen(&all), (false, Some(3), false));
    assert_eq!(seen(&all[..3]), (false, Some(0), true));
    assert_eq!(seen(&[(7, None), (7, Some(0)), (8, Some(-1))]), (false, Some(-1), false));
    assert_eq!(seen(&[(7, Some(-22))]), (false, Some(-22), false), "the agent stops there");
    assert!(seen(&[(8, Some(0))]).0);
    assert!(seen(&[(7, Some(0)), (7, Some(0))]).0);
}

#[test]
fn the_kernel_takes_32_bits_of_a_number() {
    let memory = memory();
    for (asked, entered, differs) in
        [(0x1_0000_0027, 0x27, false), (u64::MAX, u64::MAX, false), (0x1_0000_0027, 0x28, true)]
    {
        let witness = Witness::default();
        witness.expect(Some(Expected::Rounds { calls: vec![wanted(asked, vec![])], times: 1 }), Some(1));
        witness.entered(Door::Syscall64, entered, &[0; 6], Caller::Task(1), || user(&memory));
        assert_eq!(witness.sighting().differs.is_some(), differs, "{asked:#x}");
    }
}

/// A file that is opened, read to its end and closed.
fn chain() -> Witness {
    let link = |nr, args, until| Link { call: wanted(nr, args), only: None, until };
    let links = vec![
        link(2, vec![Arg::Int(1)], None),
        link(0, vec![Arg::Of(0), Arg::Out(5)], Some(100)),
        link(3, vec![Arg::Of(0)], None),
    ];
    let witness = Witness::default();
    witness.expect(Some(Expected::Chain(links)), Some(1));
    witness
}

#[test]
fn each_call_of_a_chain_is_seen() {
    let memory = memory();
    let witness = chain();
    let one = |nr, args: [u64; 6], result| {
        witness.entered(Door::Syscall64, nr, &args, Caller::Task(1), || user(&memory));
        witness.returned(|| Caller::Task(1), nr, result, || user(&memory));
    };
    one(2, [1, 0, 0, 0, 0, 0], 4);
    assert!(!witness.is_due(1), "what the step is about is not done");
    one(0, [4, BUFFER, 5, 0, 0, 0], 3);
    assert!(witness.is_due(1));
    one(0, [4, BUFFER, 5, 0, 0, 0], 2);
    one(0, [4, BUFFER, 5, 0, 0, 0], 0);
    one(3, [4, 0, 0, 0, 0, 0], 0);
    let seen = witness.sighting();
    assert_eq!((seen.entered, &seen.differs, seen.fewer), (5, &None, None));
    let made: Vec<_> = seen.made.iter().map(|it| (it.link, it.result, it.buffers.clone().unwrap())).collect();
    let read = vec![b"helhe".to_vec()];
    assert_eq!(made, [(0, Some(4), vec![]), (1, Some(0), read), (2, Some(0), vec![])]);
    one(3, [4, 0, 0, 0, 0, 0], 0);
    assert_eq!(witness.sighting().differs, Some(Difference::More { seen: 3 }));
}

#[test]
fn a_call_of_a_chain_that_never_came_back_is_told_by_the_next() {
    let memory = memory();
    let witness = chain();
    for (nr, args) in [(2, [1, 0, 0, 0, 0, 0]), (0, [4, BUFFER, 5, 0, 0, 0])] {
        witness.entered(Door::Syscall64, nr, &args, Caller::Task(1), || user(&memory));
    }
    assert_eq!(witness.sighting().differs, Some(Difference::Inside { nr: 2, seen: 0 }));
}

#[test]
fn a_call_of_a_chain_takes_what_the_kernel_returned() {
    let memory = memory();
    let second = |first: i64, nr, fd| {
        let witness = chain();
        witness.entered(Door::Syscall64, 2, &[1, 0, 0, 0, 0, 0], Caller::Task(1), || user(&memory));
        // A signal came, and the kernel has it begin anew.
        witness.entered(Door::Syscall64, 2, &[1, 0, 0, 0, 0, 0], Caller::Task(1), || user(&memory));
        witness.returned(|| Caller::Task(1), 2, first, || user(&memory));
        witness.entered(Door::Syscall64, nr, &[fd, BUFFER, 5, 0, 0, 0], Caller::Task(1), || user(&memory));
        let seen = witness.sighting();
        assert!(seen.inside || seen.differs.is_some());
        seen.differs
    };
    assert_eq!(second(4, 0, 4), None);
    assert_eq!(second(4, 0, 5), Some(Difference::Argument { index: 1, wanted: 4, seen: 5 }));
    assert_eq!(second(4, 3, 4), Some(Difference::Number { wanted: 0, seen: 3 }));
    assert_eq!(
        second(-2, 0, 4),
        Some(Difference::More { seen: 0 }),
        "nothing comes after an open that failed"
    );
}

#[test]
fn a_programs_code_is_looked_at_until_it_is_another_program() {
    let memory = memory();
    let page = [3; 0x1000];
    let key = 7;
    let code = Code { key, pages: [(BUFFER, crate::digest(key, &page))].into(), moves: false };
    let looked = |becomes_another: bool| {
        memory.write_slice(&page, GuestAddress(0x8000)).unwrap();
        let witness = Witness::default();
        witness.expect_program(Some(code.clone()));
        // It wants to execute another one, in vain or not.
        witness.leaves(BUFFER + 8, &memory, || user(&memory));
        assert_eq!(witness.sighting().strange, None);
        if becomes_another {
            witness.became_another();
        }
        memory.write_obj(4u8, GuestAddress(0x8010)).unwrap();
        witness.leaves(BUFFER + 8, &memory, || user(&memory));
        memory.write_obj(3u8, GuestAddress(0x8010)).unwrap();
        witness.leaves(BUFFER + 8, &memory, || user(&memory));
        witness.sighting().strange
    };
    assert_eq!([looked(false), looked(true)], [Some(BUFFER), None]);
}
