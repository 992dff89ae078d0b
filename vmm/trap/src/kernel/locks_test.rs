use super::super::fixture::{Guest, LOCK, Layout, Place, TASKS};
use super::*;

fn holder(guest: &Guest, task: u64) -> Option<u64> {
    let state = guest.state();
    Locks { state: &state, tasks: &BTreeSet::from(TASKS) }.holder(task)
}

fn circle(guest: &Guest, task: u64) -> Vec<u64> {
    let state = guest.state();
    Locks { state: &state, tasks: &BTreeSet::from(TASKS) }.circle(task)
}

const LAYOUTS: [Layout; 2] = [Layout::Head, Layout::First];
const WAITERS: u64 = 1;
const D: u32 = 2;

/// The first task waits for a mutex that it holds.
fn deadlock(layout: Layout) -> Guest {
    let guest = Guest::new(layout);
    guest.waits(
        TASKS[0],
        D,
        &["__schedule", "schedule", "schedule_preempt_disabled", "__mutex_lock.constprop.0"],
    );
    guest.links(&[TASKS[0]], "mutex");
    guest.field("mutex", "owner", TASKS[0] | WAITERS);
    guest
}

#[test]
fn who_holds_the_mutex_that_it_waits_for_is_stuck() {
    for layout in LAYOUTS {
        let guest = deadlock(layout);
        assert_eq!(holder(&guest, TASKS[0]), Some(TASKS[0]), "{layout:?}");
        assert_eq!(circle(&guest, TASKS[0]), [TASKS[0]], "{layout:?}");
    }
}

#[test]
fn words_that_look_like_a_waiter_are_none_in_any_other_sleep() {
    for layout in LAYOUTS {
        for functions in [
            &["__schedule", "schedule", "schedule_timeout", "__mutex_lock.constprop.0"][..],
            &["__schedule", "schedule", "wait_woken"],
            // It was interrupted there, and runs.
            &["__mutex_lock.constprop.0"],
            // The other kind of lock.
            &["__schedule", "schedule_preempt_disabled", "rwsem_down_write_slowpath"],
        ] {
            let guest = deadlock(layout);
            guest.waits(TASKS[0], D, functions);
            guest.links(&[TASKS[0]], "mutex");
            assert_eq!(holder(&guest, TASKS[0]), None, "{layout:?} {functions:?}");
        }
    }
}

#[test]
fn a_waiter_lies_among_the_variables_of_the_locks_own_function() {
    for layout in LAYOUTS {
        for place in [Place::Below, Place::Above] {
            let guest = deadlock(layout);
            guest.moves_waiter(TASKS[0], place);
            guest.links(&[TASKS[0]], "mutex");
            assert_eq!(holder(&guest, TASKS[0]), None, "{layout:?} {place:?}");
        }
    }
}

#[test]
fn a_waiter_is_linked_both_ways_in_a_list_of_waiters_that_leads_back() {
    for layout in LAYOUTS {
        let node = |guest: &Guest| guest.waiter(TASKS[0]);
        // Not at all.
        let guest = deadlock(layout);
        guest.put(node(&guest), 0);
        assert_eq!(holder(&guest, TASKS[0]), None, "{layout:?}");
        // One way only.
        let guest = deadlock(layout);
        guest.put(node(&guest) + 8, node(&guest) + 64);
        assert_eq!(holder(&guest, TASKS[0]), None, "{layout:?}");
        // With two that are no waiters: no lock has two heads.
        let guest = deadlock(layout);
        let (first, second) = (LOCK + 0x400, LOCK + 0x500);
        for (at, next) in [(node(&guest), first), (first, second), (second, node(&guest))] {
            guest.put(at, next);
            guest.put(next + 8, at);
        }
        assert_eq!(holder(&guest, TASKS[0]), None, "{layout:?}");
        // With itself only: then its lock is not known where the list leads there, and is where it points there.
        let guest = deadlock(layout);
        guest.put(node(&guest), node(&guest));
        guest.put(node(&guest) + 8, node(&guest));
        let known = layout == Layout::First;
        assert_eq!(holder(&guest, TASKS[0]).is_some(), known, "{layout:?}");
    }
}

#[test]
fn the_lock_itself_says_that_somebody_waits_for_it() {
    const PICKUP: u64 = 4;
    for layout in LAYOUTS {
        for owner in [0, TASKS[0], TASKS[0] | WAITERS | PICKUP, 0x1000 | WAITERS] {
            let guest = deadlock(layout);
            guest.field("mutex", "owner", owner);
            assert_eq!(holder(&guest, TASKS[0]), None, "{layout:?} {owner:#x}");
        }
    }
}

#[test]
fn a_semaphores_writer_holds_it_and_a_readers_name_says_nothing() {
    for layout in LAYOUTS {
        let guest = Guest::new(layout);
        for task in &TASKS[..2] {
            guest.waits(*task, D, &["__schedule", "schedule", "rwsem_down_write_slowpath"]);
        }
        guest.links(&TASKS[..2], "rw_semaphore");
        let held = |count: u64, owner: u64| {
            guest.field("rw_semaphore", "count", count);
            guest.field("rw_semaphore", "owner", owner);
            holder(&guest, TASKS[1])
        };
        assert_eq!(held(3, TASKS[0]), Some(TASKS[0]), "{layout:?}: a writer");
        assert_eq!(held(7, TASKS[0] | 2), Some(TASKS[0]), "{layout:?}: a writer, and a hand-over");
        assert_eq!(held(0x202, TASKS[0]), None, "{layout:?}: two readers");
        assert_eq!(held(3, TASKS[0] | 1), None, "{layout:?}: a reader's name");
        assert_eq!(held(1, TASKS[0]), None, "{layout:?}: nobody waits");
    }
}

#[test]
fn a_sleep_that_a_signal_ends_is_no_deadlock() {
    // Interruptible; killable; neither.
    for (state, stuck) in [(1, false), (0x102, false), (2, true), (0x2002, true)] {
        let guest = deadlock(Layout::Head);
        guest.sleeps(TASKS[0], state);
        assert_eq!(holder(&guest, TASKS[0]), Some(TASKS[0]), "{state:#x}");
        assert_eq!(!circle(&guest, TASKS[0]).is_empty(), stuck, "{state:#x}");
    }
}

#[test]
fn who_waits_for_somebody_in_a_circle_is_stuck_and_nobody_else() {
    let holders = std::collections::BTreeMap::from([(1, 2), (2, 3), (3, 2), (4, 4), (5, 6)]);
    let circle = |task: u64| waits_for_itself(task, |task| holders.get(&task).copied());
    let all: [&[u64]; 7] = [&[1, 2, 3], &[2, 3], &[3, 2], &[4], &[], &[], &[]];
    assert_eq!((1..8).map(circle).collect::<Vec<_>>(), all);
    assert!(waits_for_itself(0, |task| Some(task + 1)).is_empty(), "a row without an end");
}
