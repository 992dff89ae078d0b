//! A call's way that was made up, told.

use super::{signature::Parameter, text, tree};
use board::wire::{Stop, Walk};

const ENTRY: u64 = 0xffff_ffff_8100_0000;
const DO_SYSCALL: u64 = ENTRY + 0x1000;
const CALL: u64 = ENTRY + 0x2000;
const THUNK: u64 = ENTRY + 0x3000;
const PUT: u64 = ENTRY + 0x4000;
const STACK: u64 = 0xffff_c900_0000_3f00;

fn symbol(address: u64) -> Option<(String, u64)> {
    let names = [
        (ENTRY, "entry_SYSCALL_64"),
        (DO_SYSCALL, "do_syscall_64"),
        (CALL, "__x64_sys_add"),
        (THUNK, "__x86_return_thunk"),
        (PUT, "__put_user_8"),
    ];
    let (start, name) = names.into_iter().rfind(|(start, _)| *start <= address)?;
    (address < PUT + 0x1000).then(|| (name.to_owned(), address - start))
}

fn stop(rip: u64, rsp: u64, at: u64) -> Stop {
    Stop { rip, rsp, at, cr3: 0x1000, ..Stop::default() }
}

fn way() -> Vec<Stop> {
    let user = 0x7fff_0000;
    vec![
        Stop { rflags: 2, ..stop(ENTRY, user, 0) },
        stop(ENTRY + 9, STACK, 3),
        stop(DO_SYSCALL, STACK - 8, 20),
        stop(CALL, STACK - 80, 40),
        Stop { rax: 42, args: [0, 0, 0, 0x1234, 0, 0], ..stop(PUT, STACK - 100, 50) },
        stop(THUNK, STACK - 100, 55),
        stop(CALL + 0x30, STACK - 92, 56),
        stop(DO_SYSCALL + 0x50, STACK - 72, 60),
        Stop { rax: 1, ..stop(ENTRY + 0x60, STACK, 70) },
    ]
}

fn told(walk: &Walk, parameters: &[Parameter]) -> String {
    text::render(&text::Told { name: "add", nr: 548, parameters, given: 3, walk, symbol: &symbol })
}

fn walk() -> Walk {
    let user = Stop { ring: 3, rax: 548, args: [2, 40, 0x1234, 0, 0, 0], ..stop(0x40_1000, 0x7fff_0000, 0) };
    let back = Stop { ring: 3, rax: 0, ..stop(0x40_1002, 0x7fff_0000, 75) };
    let stops = [vec![user], way(), vec![back]].concat();
    Walk {
        stops,
        process: Some((28, "ini\x1bt".into())),
        before: vec![(2, vec![0; 8])],
        after: vec![(2, vec![42, 0, 0, 0, 0, 0, 0, 0])],
        instructions: 75,
        returned: true,
        ..Walk::default()
    }
}

#[test]
fn depth_follows_the_stack_and_thunks_are_no_functions() {
    let functions = tree::functions(&way(), &symbol);
    let found: Vec<_> =
        functions.iter().map(|it| (it.name.as_str(), it.depth, it.exit.map(|exit| exit.at))).collect();
    assert_eq!(
        found,
        [
            ("entry_SYSCALL_64", 0, None),
            ("do_syscall_64", 1, Some(70)),
            ("__x64_sys_add", 2, Some(60)),
            ("__put_user_8", 3, Some(56)),
        ]
    );
}

#[test]
fn a_jump_into_another_function_replaces_the_first() {
    let mut stops = way();
    stops.insert(5, stop(DO_SYSCALL, STACK - 100, 52));
    let functions = tree::functions(&stops, &symbol);
    assert_eq!((functions[3].depth, functions[3].exit), (3, None));
    assert_eq!((functions[4].name.as_str(), functions[4].depth), ("do_syscall_64", 3));
}

#[test]
fn another_stack_hides_none_of_the_functions_below() {
    let mut stops = way();
    let other = 0xffff_c900_0010_0000;
    stops.insert(4, stop(DO_SYSCALL, other, 44));
    stops.insert(5, stop(CALL + 0x10, STACK - 80, 45));
    let depths: Vec<_> = tree::functions(&stops, &symbol).iter().map(|it| it.depth).collect();
    assert_eq!(depths, [0, 1, 2, 3, 3]);
}

#[test]
fn the_way_is_told_with_its_values() {
    let parameters = ["long a", "long b", "long __user *sum"].map(|text| {
        let at = text.rfind([' ', '*']).unwrap() + 1;
        Parameter { kind: text[..at].trim().into(), name: text[at..].into() }
    });
    let text = told(&walk(), &parameters);
    for words in [
        "ring 3  ini\\x1bt (pid 28)",
        "RAX  548                    the number: add",
        "RDI  2                      long a",
        "RDX  0x1234                 long __user *sum, points to 00 00 00 00 00 00 00 00",
        "0xffffffff81000000  entry_SYSCALL_64",
        "interrupts are off",
        "+3  the kernel's stack: RSP 0xffffc90000003f00",
        "+50      __put_user_8",
        "checks that 0x1234 is the program's memory, and writes 42 there",
        "sum points to 2a 00 00 00",
        "after 75 instructions",
    ] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    assert!(!text.contains("return_thunk") && !text.contains("ENOSYS"), "{text}");
}

#[test]
fn a_call_without_a_function_says_so() {
    let mut walk = walk();
    walk.stops.retain(|stop| !(CALL..PUT + 0x1000).contains(&stop.rip));
    assert!(!told(&walk, &[]).contains("no function belongs"), "there is a result");
    walk.stops.last_mut().unwrap().rax = -38_i64 as u64;
    let text = told(&walk, &[]);
    assert!(text.contains("no function belongs to this number"), "{text}");
}

#[test]
fn a_call_that_is_lost_on_the_way_is_told_as_far_as_it_came() {
    let mut walk = walk();
    walk.returned = false;
    walk.cut = true;
    for length in (0..walk.stops.len()).rev() {
        walk.stops.truncate(length);
        let text = told(&walk, &[]);
        assert!(text.contains(if length == 0 { "never made" } else { "not" }), "{length}: {text}");
    }
}
