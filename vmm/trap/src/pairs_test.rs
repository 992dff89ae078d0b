use super::*;

const STEP: Origin = Origin::Step;
const BACK: u64 = 0x6e00_1000;
const STACK: u64 = 0x7ffc_0000_8000;

fn ids(task: u64, pid: u32, tgid: u32) -> Option<Ids> {
    Some(Ids { task, pid, tgid })
}

fn enter(pairs: &Pairs, who: Option<Ids>, nr: u64) -> Origin {
    enter_from(pairs, who, nr, BACK).0
}

fn enter_from(pairs: &Pairs, who: Option<Ids>, nr: u64, back: u64) -> (Origin, bool) {
    pairs.entered(who, Door::Syscall64, nr, Site { back, stack: STACK }, STEP)
}

/// Of a call by the agent for itself.
fn housekeeping(pairs: &Pairs, who: Option<Ids>, nr: u64) -> Origin {
    pairs.entered(who, Door::Syscall64, nr, Site { back: BACK, stack: STACK }, Origin::Agent).0
}

/// No signal is about to be handled.
fn leave(pairs: &Pairs, who: Option<Ids>, nr: u64, back: u64, result: i64) -> Returned {
    pairs.returned(who, nr, Return { back, stack: STACK, result }, |_| None)
}

#[test]
fn calls_that_return_as_they_entered_are_nothing_odd() {
    let pairs = Pairs::of([20]);
    let (one, other) = (ids(1, 30, 30), ids(2, 31, 30));
    // It was in the kernel before.
    assert_eq!(leave(&pairs, one, 0, BACK, 5), Returned::Unknown);
    enter(&pairs, one, 39);
    enter(&pairs, other, 0);
    assert_eq!(leave(&pairs, one, 39, BACK, 30), Returned::From(39, Origin::Program, 30));
    assert_eq!(leave(&pairs, other, 0, BACK, 1), Returned::From(0, Origin::Program, 1));
    // Through other doors no result is seen.
    pairs.entered(one, Door::Int80, 20, Site { back: 0, stack: 0 }, Origin::Program);
    enter(&pairs, one, 1);
    // A signal's handler runs, and returns.
    leave(&pairs, one, 1, 0x40_0000, 10);
    enter(&pairs, one, SIGRETURN);
    leave(&pairs, one, u64::MAX, BACK, 3);
    // A 32-bit program is executed, and one by another call.
    for (nr, saved) in [(59, 11), (322, 59)] {
        enter(&pairs, one, nr);
        assert_eq!(leave(&pairs, one, saved, 0x40_0000, 0), Returned::From(nr, Origin::Program, 0));
    }
    // A probe of a program's function.
    enter(&pairs, one, UPROBES[0]);
    assert_eq!(leave(&pairs, one, u64::MAX, 0x40_0000, 3), Returned::From(335, Origin::Program, 3));
    enter(&pairs, one, 0);
    // A task that died in its call, and another one in its place.
    enter(&pairs, ids(1, 40, 40), 39);
    leave(&pairs, ids(1, 40, 40), 39, BACK, 40);
    assert_eq!((pairs.take(), pairs.changed()), (vec![], 0));
}

#[test]
fn a_call_that_is_made_once_more_is_the_same_call() {
    let pairs = Pairs::of([20]);
    let one = ids(1, 30, 30);
    let new = |nr, back| enter_from(&pairs, one, nr, back).1;
    let sent_back = |nr| assert_eq!(leave(&pairs, one, nr, BACK - 2, nr as i64), Returned::Again);
    let from = |nr, result| Returned::From(nr, Origin::Program, result);
    assert!(new(0, BACK));
    sent_back(0);
    assert!(!new(0, BACK));
    sent_back(0);
    assert!(!new(0, BACK));
    assert_eq!(leave(&pairs, one, 0, BACK, 5), from(0, 5));
    assert!(new(0, BACK), "it had returned");
    sent_back(0);
    // Where the kernel goes on by its own call, which is another number.
    assert!(!new(RESTART, BACK));
    sent_back(RESTART);
    assert!(!new(RESTART, BACK));
    assert_eq!(leave(&pairs, one, RESTART, BACK, 0), from(0, 0));
    for (nr, back) in [(1, BACK), (0, BACK + 8)] {
        assert!(new(0, BACK));
        sent_back(0);
        assert!(new(nr, back), "another call");
        leave(&pairs, one, nr, back, 0);
        assert!(new(0, BACK), "the next is none that was sent back");
        leave(&pairs, one, 0, BACK, 0);
    }
    assert_eq!(pairs.take(), [Oddity::Unreturned { nr: 0, pid: 30 }], "it was not made again");
}

/// The agent's own calls need not be seen to return, but for those that make processes or another program of one.
#[test]
fn returns_are_awaited_of_calls_that_tell_something() {
    let pairs = Pairs::of([20]);
    let (agent, program) = (ids(1, 20, 20), ids(2, 50, 50));
    let housekeeping = |nr| housekeeping(&pairs, agent, nr) == Origin::Agent;
    assert!(housekeeping(0) && pairs.awaits_returns(), "whether returns are seen at all is not known yet");
    leave(&pairs, agent, 0, BACK, 5);
    assert!(!pairs.awaits_returns());
    // Read, and not seen to return.
    assert!(housekeeping(0) && housekeeping(0) && !pairs.awaits_returns());
    leave(&pairs, agent, 0, BACK, 5);
    for nr in [FORKS[0], EXECS[0]] {
        assert!(housekeeping(nr) && pairs.awaits_returns());
        leave(&pairs, agent, nr, BACK, -11);
        assert!(!pairs.awaits_returns());
    }
    enter(&pairs, agent, 7);
    enter(&pairs, program, 1);
    leave(&pairs, agent, 7, BACK, 0);
    assert!(pairs.awaits_returns(), "the program's");
    leave(&pairs, program, 1, BACK, 0);
    assert!(!pairs.awaits_returns());
    // Another task is where one was that died in its call; one ends itself.
    enter(&pairs, program, 1);
    enter(&pairs, ids(2, 51, 51), EXITS[1]);
    assert!(!pairs.awaits_returns());
    assert_eq!(pairs.take(), []);
    pairs.blind();
    assert!(pairs.awaits_returns());
}

#[test]
fn what_does_not_fit_is_told() {
    let pairs = Pairs::of([20]);
    let one = ids(1, 30, 30);
    enter(&pairs, one, 5);
    leave(&pairs, one, 39, BACK, 0);
    leave(&pairs, one, 39, BACK, 0);
    enter(&pairs, one, 7);
    enter(&pairs, one, 8);
    let found = [
        Oddity::Dispatched { entered: 5, handled: 39, pid: 30 },
        Oddity::Unentered { nr: 39, pid: 30 },
        Oddity::Unreturned { nr: 7, pid: 30 },
    ];
    assert_eq!(pairs.take(), found);
    // Nothing is said where not everything was seen.
    pairs.blind();
    leave(&pairs, one, 1, BACK, 0);
    assert_eq!(pairs.take(), []);
}

#[test]
fn numbers_that_a_tracer_may_have_changed_are_counted() {
    let pairs = Pairs::of([20]);
    let one = ids(1, 30, 30);
    enter(&pairs, ids(2, 31, 31), 101);
    enter(&pairs, one, 5);
    leave(&pairs, one, 39, BACK, 0);
    assert_eq!((pairs.take(), pairs.changed()), (vec![], 1));
}

#[test]
fn tasks_keep_their_numbers_unless_they_execute_a_program() {
    let odd = |later: Option<Ids>, nr: u64| {
        let pairs = Pairs::of([20]);
        enter(&pairs, ids(1, 31, 30), nr);
        leave(&pairs, later, nr, BACK, 0);
        pairs.take()
    };
    assert_eq!(odd(ids(1, 31, 30), 39), []);
    let renumbered = |now| vec![Oddity::Renumbered { pid: 30, now }];
    assert_eq!(odd(ids(1, 12_345, 30), 39), renumbered(30));
    assert_eq!(odd(ids(1, 31, 28), 39), renumbered(28));
    // A thread that executes a program has its process's number from then on.
    assert_eq!(odd(ids(1, 30, 30), 59), []);
    // Nor does it change between two calls.
    let pairs = Pairs::of([20]);
    for tgid in [30, 28] {
        enter(&pairs, ids(1, 31, tgid), 39);
        leave(&pairs, ids(1, 31, tgid), 39, BACK, 0);
    }
    assert_eq!(pairs.take(), renumbered(28));
}

/// A call whose return is hidden, and whose task has another number since.
#[test]
fn a_task_that_goes_on_under_another_number_is_told() {
    let pid = |pid| ids(1, pid, 30);
    let enter_at = |pairs: &Pairs, who, nr, stack| {
        pairs.entered(who, Door::Syscall64, nr, Site { back: BACK, stack }, STEP);
    };
    let odd = |first: u64, stack: u64, between: &dyn Fn(&Pairs)| {
        let pairs = Pairs::of([20]);
        enter_at(&pairs, pid(31), first, STACK);
        between(&pairs);
        enter_at(&pairs, pid(45), 39, stack);
        pairs.take()
    };
    let nothing = |_: &Pairs| ();
    let renumbered = [Oddity::Renumbered { pid: 30, now: 30 }];
    assert_eq!(odd(7, STACK - 0x400, &nothing), renumbered);
    // It returned, and was given the other number in user space.
    let returns =
        |pairs: &Pairs| assert_eq!(leave(pairs, pid(31), 7, BACK, 0), Returned::From(7, Origin::Program, 0));
    assert_eq!(odd(7, STACK, &returns), renumbered);
    // A thread that ended, or died in its call, and another one where it was, which has a stack of its own.
    assert_eq!(odd(EXITS[0], STACK, &nothing), []);
    assert_eq!(odd(7, STACK - 0x10_0000, &nothing), []);
    // It went with the program, by which it had been started, and the next has threads as well.
    let executes = |pairs: &Pairs| {
        enter(pairs, ids(2, 30, 30), EXECS[0]);
        leave(pairs, ids(2, 30, 30), EXECS[0], 0x40_0000, 0);
    };
    assert_eq!(odd(7, STACK, &executes), []);
    let pairs = Pairs::of([20]);
    leave(&pairs, ids(3, 60, 60), 0, BACK, 0);
    enter(&pairs, ids(2, 30, 30), 7);
    enter(&pairs, pid(31), EXECS[0]);
    assert_eq!(leave(&pairs, pid(30), EXECS[0], 0x40_0000, 0), Returned::From(59, Origin::Program, 0));
    assert!(!pairs.awaits_returns(), "the other thread's will never come");
    enter(&pairs, ids(2, 32, 30), 7);
    assert_eq!(pairs.take(), []);
}

#[test]
fn only_the_agents_own_processes_are_the_agent() {
    let pairs = Pairs::of([20]);
    let (agent, worker, child) = (ids(1, 1, 1), ids(2, 20, 20), ids(3, 21, 21));
    assert_eq!(enter(&pairs, worker, 39), STEP);
    assert_eq!(enter(&pairs, child, 39), Origin::Program, "any program may have code there");
    leave(&pairs, child, 39, BACK, 21);
    // The agent forks, and its child runs before that is known, and then becomes a program.
    enter(&pairs, agent, 56);
    assert_eq!(enter(&pairs, child, 112), STEP);
    leave(&pairs, agent, 56, BACK, 21);
    leave(&pairs, child, 112, BACK, 21);
    assert_eq!(enter(&pairs, child, 59), STEP);
    leave(&pairs, child, 59, 0x40_0000, 0);
    assert_eq!(enter(&pairs, child, 39), Origin::Program);
    assert_eq!(pairs.children(), [21]);
    pairs.forget_children();
    assert!(pairs.children().is_empty());
    assert!(!pairs.adopt(Ids { task: 3, pid: 21, tgid: 21 }), "the worker is known");
}

#[test]
fn child_that_is_a_program_before_the_fork_returns_is_none_of_the_agents() {
    let pairs = Pairs::of([20]);
    let (agent, child) = (ids(1, 1, 1), ids(3, 21, 21));
    enter(&pairs, agent, 56);
    assert_eq!(enter(&pairs, child, 59), STEP);
    leave(&pairs, child, 59, 0x40_0000, 0);
    // From the agent's own code, which it has mapped; and so does a child of its own.
    assert_eq!(enter(&pairs, child, 39), Origin::Program);
    leave(&pairs, child, 39, BACK, 21);
    assert_eq!(enter(&pairs, ids(4, 22, 22), 39), Origin::Program);
    leave(&pairs, agent, 56, BACK, 21);
    assert_eq!(enter(&pairs, child, 39), Origin::Program);
    assert_eq!(enter(&pairs, ids(5, 23, 23), 39), Origin::Program);
    assert_eq!(pairs.children(), [21]);
    leave(&pairs, child, 39, BACK, 21);
    // Its number is the agent's again, when another process of the agent's has it.
    enter(&pairs, child, 231);
    enter(&pairs, agent, 56);
    leave(&pairs, agent, 56, BACK, 21);
    assert_eq!(enter(&pairs, ids(4, 21, 21), 39), STEP);
    // Who came while it forked, and was not forked, is nobody of its.
    enter(&pairs, agent, 56);
    assert_eq!(enter(&pairs, ids(6, 24, 24), 39), STEP);
    leave(&pairs, agent, 56, BACK, 25);
    assert_eq!(enter(&pairs, ids(6, 24, 24), 40), Origin::Program);
}

#[test]
fn threads_of_the_agents_program_are_known_by_its_page_tables() {
    let pairs = Pairs::of([20]);
    let (program, thread, other) = (ids(3, 21, 21), ids(4, 22, 21), ids(5, 23, 23));
    let is_main = |who: Option<Ids>, tables| pairs.is_main(who.unwrap(), || Some(tables));
    enter(&pairs, ids(1, 1, 1), 56);
    leave(&pairs, ids(1, 1, 1), 56, BACK, 21);
    assert_eq!(housekeeping(&pairs, program, EXECS[0]), Origin::Agent);
    leave(&pairs, program, EXECS[0], 0x40_0000, 0);
    assert!(is_main(program, 0x7000) && !is_main(thread, 0x7000), "it has no threads yet");
    // Who is of another process, or has nothing but its number, makes none of its threads.
    pairs.makes_thread(other.unwrap(), Some(0x9000));
    pairs.makes_thread(thread.unwrap(), Some(0x9000));
    assert!(!is_main(thread, 0x9000));
    pairs.makes_thread(program.unwrap(), Some(0x7000));
    assert!(is_main(thread, 0x7000) && is_main(program, 0x9000));
    assert!(!is_main(thread, 0x9000) && !is_main(other, 0x7000));
}

#[test]
fn worker_that_is_not_known_is_who_makes_the_first_call() {
    let pairs = Pairs::of([]);
    assert_eq!(enter(&pairs, ids(2, 20, 20), 39), STEP);
    assert!(pairs.adopt(Ids { task: 2, pid: 20, tgid: 20 }));
    assert_eq!(enter(&pairs, ids(3, 21, 21), 39), Origin::Program);
}

#[test]
fn tasks_without_end_are_forgotten() {
    let pairs = Pairs::of([20]);
    for task in 0..2 * MOST_TASKS as u64 {
        enter(&pairs, ids(task, task as u32, 30), 56);
    }
    assert!(pairs.inner().tasks.len() <= MOST_TASKS);
    assert_eq!(pairs.take(), []);
}

/// A stop that a processor tells twice changes nothing of what is known; what a task does anew is not taken for one.
#[test]
fn a_stop_that_comes_twice_is_told_from_another_call() {
    let pairs = Pairs::of([20]);
    let (one, other) = (ids(1, 30, 30).unwrap(), ids(1, 31, 31).unwrap());
    assert!(!pairs.is_outside(one) && !pairs.is_inside(one, 39), "nobody knows it");
    leave(&pairs, Some(one), 0, BACK, 5);
    assert!(pairs.is_outside(one));
    enter(&pairs, Some(one), 39);
    assert!(pairs.is_inside(one, 39) && !pairs.is_inside(one, 1) && !pairs.is_outside(one));
    assert!(!pairs.is_inside(other, 39) && !pairs.is_outside(other), "it has another number");
    leave(&pairs, Some(one), 39, BACK, 30);
    assert!(pairs.is_outside(one) && !pairs.is_inside(one, 39));
    // Of the agent's own the return may go by unseen: the next one may be another call.
    let agent = ids(2, 20, 20);
    housekeeping(&pairs, agent, 7);
    assert!(!pairs.is_inside(agent.unwrap(), 7));
    assert_eq!(pairs.take(), []);
}
