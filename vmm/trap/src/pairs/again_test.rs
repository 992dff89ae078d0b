use super::*;
use crate::{
    door::Door,
    oddity::Oddity,
    pairs::{Ids, Pairs, RESTART, Returned, SIGRETURN},
};
use machine::create_memory;
use vm_memory::{Bytes, GuestAddress};

const BACK: u64 = 0x40_1000;
const HANDLER: u64 = 0x40_2000;
const STACK: u64 = 0x7ffc_0000_8000;
/// The handler's frame.
const FRAME: u64 = STACK - 0x800;

const WHO: Option<Ids> = Some(Ids { task: 1, pid: 30, tgid: 30 });

fn enter(pairs: &Pairs, nr: u64, back: u64, stack: u64) -> bool {
    pairs.entered(WHO, Door::Syscall64, nr, Site { back, stack }, Origin::Program).1
}

/// A call of the interrupted code, from where it always makes it.
fn calls(pairs: &Pairs, nr: u64) -> bool {
    enter(pairs, nr, BACK, STACK)
}

fn to(back: u64, stack: u64, result: i64) -> Return {
    Return { back, stack, result }
}

fn returns(pairs: &Pairs, nr: u64, now: Return) -> Returned {
    pairs.returned(WHO, nr, now, |_| panic!("nobody has to read the guest's memory for this"))
}

/// It returns into a handler, which will come back to this.
fn is_handled(pairs: &Pairs, nr: u64, comes_back: Return) -> Returned {
    let handler = |stack| (stack == FRAME).then_some(comes_back);
    pairs.returned(WHO, nr, to(HANDLER, FRAME, 0), handler)
}

fn comes_back(pairs: &Pairs, now: Return) {
    enter(pairs, SIGRETURN, HANDLER + 0x100, FRAME);
    returns(pairs, u64::MAX, now);
}

fn from(nr: u64, result: i64) -> Returned {
    Returned::From(nr, Origin::Program, result)
}

#[test]
fn a_call_that_a_handler_interrupts_has_the_result_that_the_handler_comes_back_to() {
    let pairs = Pairs::default();
    calls(&pairs, 0);
    assert_eq!(is_handled(&pairs, 0, to(BACK, STACK, -4)), from(0, -4));
    comes_back(&pairs, to(BACK, STACK, -4));
    // A second handler runs first, and comes back to the first one's beginning.
    calls(&pairs, 0);
    let frames = |stack| match stack {
        FRAME => Some(to(HANDLER, FRAME - 0x800, 0)),
        stack if stack == FRAME - 0x800 => Some(to(BACK, STACK, -4)),
        _ => None,
    };
    assert_eq!(pairs.returned(WHO, 0, to(HANDLER + 8, FRAME, 0), frames), from(0, -4));
    // What is there is no frame of it, or leads to itself.
    for comes_back in [to(HANDLER, STACK, 7), to(HANDLER, FRAME, 7)] {
        calls(&pairs, 0);
        assert_eq!(is_handled(&pairs, 0, comes_back), from(0, 0));
    }
    assert_eq!(pairs.take(), []);
}

/// As of a search through PATH: the frame's making leaves 0 where the result was.
#[test]
fn a_failed_exec_that_a_handler_interrupts_has_failed() {
    let pairs = Pairs::default();
    calls(&pairs, 59);
    assert_eq!(is_handled(&pairs, 59, to(BACK, STACK, -2)), from(59, -2));
    comes_back(&pairs, to(BACK, STACK, -2));
    // What it becomes begins elsewhere.
    calls(&pairs, 59);
    let becomes = pairs.returned(WHO, 59, to(0x50_0000, STACK + 64, 0), |_| Some(to(1, 2, 3)));
    assert_eq!((becomes, pairs.take()), (from(59, 0), vec![]));
}

#[test]
fn a_call_that_is_made_once_more_behind_a_handler_is_the_same_call() {
    let pairs = Pairs::default();
    assert!(calls(&pairs, 0));
    assert_eq!(is_handled(&pairs, 0, to(BACK - 2, STACK, 0)), Returned::Again);
    // The handler's own calls: by the same function, and one that is sent back and made.
    assert!(enter(&pairs, 0, BACK, FRAME - 0x100));
    assert_eq!(returns(&pairs, 0, to(BACK, FRAME - 0x100, 3)), from(0, 3));
    comes_back(&pairs, to(BACK - 2, STACK, 0));
    assert!(!calls(&pairs, 0));
    assert_eq!(returns(&pairs, 0, to(BACK, STACK, 5)), from(0, 5));
    // A handler that jumps out of it, to where the call is made anew.
    assert!(calls(&pairs, 0));
    assert_eq!(is_handled(&pairs, 0, to(BACK - 2, STACK, 0)), Returned::Again);
    assert!(calls(&pairs, 0));
    assert_eq!(returns(&pairs, 0, to(BACK, STACK, 5)), from(0, 5));
    assert_eq!(pairs.take(), []);
}

#[test]
fn a_call_that_is_to_be_made_once_more_and_is_not_never_returned() {
    let sent_back = || {
        let pairs = Pairs::default();
        calls(&pairs, 0);
        assert_eq!(returns(&pairs, 0, to(BACK - 2, STACK, 0)), Returned::Again);
        pairs
    };
    let unreturned = [Oddity::Unreturned { nr: 0, pid: 30 }];
    for (nr, back, stack) in
        [(1, BACK, STACK), (0, BACK + 8, STACK), (0, BACK, STACK + 16), (231, BACK, FRAME)]
    {
        let pairs = sent_back();
        assert!(enter(&pairs, nr, back, stack));
        assert_eq!(pairs.take(), unreturned, "{nr} {back:#x} {stack:#x}");
    }
    // A signal that came before it could be made: its handler runs below it, and comes back to it.
    let pairs = sent_back();
    assert!(enter(&pairs, 1, BACK + 8, FRAME));
    returns(&pairs, 1, to(BACK + 8, FRAME, 1));
    comes_back(&pairs, to(BACK - 2, STACK, 0));
    assert!(!calls(&pairs, RESTART));
    assert_eq!((returns(&pairs, RESTART, to(BACK, STACK, 0)), pairs.take()), (from(0, 0), vec![]));
    // The same on a stack of its own, which lies higher.
    let pairs = sent_back();
    for nr in [1, SIGRETURN] {
        enter(&pairs, nr, HANDLER, STACK + (1 << 20));
        let goes_on = if nr == 1 { to(HANDLER, STACK + (1 << 20), 1) } else { to(BACK - 2, STACK, 0) };
        returns(&pairs, nr, goes_on);
    }
    assert!(!calls(&pairs, 0));
    assert_eq!((returns(&pairs, 0, to(BACK, STACK, 2)), pairs.take()), (from(0, 2), vec![]));
    // It goes on above that.
    let pairs = sent_back();
    for stack in [FRAME, STACK] {
        enter(&pairs, 1, BACK + 8, stack);
        returns(&pairs, 1, to(BACK + 8, stack, 1));
    }
    assert_eq!(pairs.take(), unreturned);
    // Where a tracer may have done it, it is counted.
    let pairs = sent_back();
    pairs.entered(
        Some(Ids { task: 2, pid: 31, tgid: 31 }),
        Door::Syscall64,
        101,
        Site { back: BACK, stack: STACK },
        Origin::Program,
    );
    calls(&pairs, 1);
    assert_eq!((pairs.take(), pairs.changed()), (vec![], 1));
}

#[test]
fn a_handlers_frame_is_read_as_the_kernel_writes_it() {
    let memory = create_memory(2).unwrap();
    for (at, entry) in [(0x1000, 0x2007_u64), (0x2000, 0x3007), (0x3000, 0x4007), (0x4028, 0x8007)] {
        memory.write_obj(entry, GuestAddress(at)).unwrap();
    }
    // RAX, RSP and RIP of `struct sigcontext_64`.
    for (offset, value) in [(0x98, -4_i64 as u64), (0xa8, STACK), (0xb0, BACK)] {
        memory.write_obj(value, GuestAddress(0x8100 + offset)).unwrap();
    }
    let user = AddressSpace::new(memory, 0x1000, 0);
    assert_eq!(Return::of_handler(&user, 0x5100), Some(to(BACK, STACK, -4)));
    assert_eq!([Return::of_handler(&user, 0x5f80), Return::of_handler(&user, u64::MAX)], [None; 2]);
}
