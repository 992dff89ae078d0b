//! Whatever a guest prints: no panic, no endless loop, and damage is noticed.

use proptest::prelude::*;
use regex::bytes::Regex;

const OOPS: &[u8] = include_bytes!("logs/oops-null-x86-6.12.log");
const KASAN: &[u8] = include_bytes!("logs/kasan-uaf-x86-6.6-caller.log");
const WARN: &[u8] = include_bytes!("logs/warn-x86-6.8-dmesg-levels.log");
const LOCKDEP: &[u8] = include_bytes!("logs/lockdep-circular-x86-6.12.log");
const MIXED: &[u8] = include_bytes!("logs/damaged-interleaved-no-caller.log");
const STALL: &[u8] = include_bytes!("logs/rcu-stall-other-x86-5.15-caller.log");
const ALL: [&[u8]; 6] = [OOPS, KASAN, WARN, LOCKDEP, MIXED, STALL];

/// Logs of one report each, which an end mark or the trace's last frame completes.
const WHOLE: [&[u8]; 4] = [OOPS, KASAN, WARN, LOCKDEP];

fn lines(log: &[u8]) -> Vec<Vec<u8>> {
    log.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        splat::scan(&bytes);
    }

    #[test]
    fn records_of_rubbish_or_of_torn_reports_never_panic(
        texts in proptest::collection::vec((any::<String>(), 0..ALL.len(), 0usize..40, 0u32..3), 0..40)
    ) {
        let mut scanner = splat::Scanner::new();
        for (text, which, line, caller) in texts {
            let part = lines(ALL[which]).get(line).map(|line| String::from_utf8_lossy(line).into_owned());
            let message = part.as_deref().and_then(|line| line.split_once("] ")).map_or("", |(_, text)| text);
            let caller = [None, Some(splat::Caller::Task(7)), Some(splat::Caller::Cpu(1))][caller as usize];
            scanner.record(&format!("{message}{text}"), caller);
            scanner.unsettled();
            scanner.settled();
        }
        scanner.finish();
    }

    #[test]
    fn random_bytes_inside_a_report_never_hide_it(at in 0usize..2000, rubbish in proptest::collection::vec(any::<u8>(), 1..200)) {
        // The head stays whole: what follows it is overwritten.
        let head = OOPS.windows(8).position(|w| w == b"address:").expect("the head") + 30;
        let mut log = OOPS.to_vec();
        let at = (head + at).min(log.len());
        let end = (at + rubbish.len()).min(log.len());
        log.splice(at..end, rubbish);
        prop_assert!(splat::scan(&log).iter().any(|finding| finding.kind == splat::Kind::Oops));
    }

    #[test]
    fn shuffled_lines_never_panic(which in 0..ALL.len(), order in Just((0..400usize).collect::<Vec<_>>()).prop_shuffle()) {
        let lines = lines(ALL[which]);
        let log: Vec<u8> = order.iter().filter_map(|i| lines.get(*i)).flatten().copied().collect();
        splat::scan(&log);
    }

    /// Two processors that print at once, on a kernel that does not say who prints.
    #[test]
    fn of_two_reports_that_are_interleaved_both_heads_are_found(
        which in 0..WHOLE.len(), other in 0..WHOLE.len(), turns in proptest::collection::vec(1usize..6, 0..60)
    ) {
        prop_assume!(which != other);
        // Callers would tell them apart.
        let callers = Regex::new(r"\]\[ *[TC][0-9]+\]").expect("a pattern");
        let text = |log: &[u8]| lines(&callers.replace_all(log, &b"]"[..]));
        let (mut one, mut two) = (text(WHOLE[which]).into_iter(), text(WHOLE[other]).into_iter());
        let mut log: Vec<u8> = Vec::new();
        for (index, turn) in turns.iter().enumerate() {
            let from = if index % 2 == 0 { &mut one } else { &mut two };
            log.extend(from.take(*turn).flatten());
        }
        log.extend(one.chain(two).flatten());
        let found = splat::scan(&log);
        for log in [WHOLE[which], WHOLE[other]] {
            let kind = splat::scan(log)[0].kind;
            prop_assert!(found.iter().any(|finding| finding.kind == kind), "no {kind} among {found:?}");
        }
    }

    #[test]
    fn a_truncated_report_is_found_and_called_corrupted(which in 0..WHOLE.len(), part in 0.0f64..=1.0) {
        let log = WHOLE[which];
        let lines = lines(log);
        let whole = splat::scan(log).remove(0);
        // Somewhere between the head and the frame of the system call, at the end of a line.
        let first = whole.lines.first as usize;
        let frame = format!(" {}", whole.frames[whole.frames.len() - 3].function);
        let last = lines.iter().rposition(|l| l.windows(frame.len()).any(|w| w == frame.as_bytes())).expect("the frame");
        let cut = first + ((last - first) as f64 * part) as usize;
        let found = splat::scan(&lines[..cut].concat());
        prop_assert_eq!(found.len(), 1);
        prop_assert!(found[0].corrupted, "cut after line {}: {}", cut, found[0]);
        prop_assert_eq!(found[0].kind, whole.kind);
    }

    #[test]
    fn times_addresses_and_process_ids_do_not_change_a_fingerprint(which in 0..WHOLE.len(), shift in 1u64..100_000) {
        let log = String::from_utf8(WHOLE[which].to_vec()).expect("text");
        let digits = regex::Regex::new(r"(?P<key>\[ +|PID: |task \w+/|T)(?P<n>[0-9]+)").expect("a pattern");
        let moved = digits.replace_all(&log, |found: &regex::Captures<'_>| {
            format!("{}{}", &found["key"], found["n"].parse::<u64>().unwrap_or(0) + shift)
        });
        let address = regex::Regex::new(r"\bffff[0-9a-f]{12}\b").expect("a pattern");
        let moved = address.replace_all(&moved, format!("ffff8880{shift:08x}").as_str());
        let offset = regex::Regex::new(r"\+0x[0-9a-f]+/0x[0-9a-f]+").expect("a pattern");
        let moved = offset.replace_all(&moved, format!("+{shift:#x}/0xfffff").as_str());
        let (before, after) = (splat::scan(log.as_bytes()), splat::scan(moved.as_bytes()));
        prop_assert_eq!(before.len(), after.len());
        prop_assert_eq!(&before[0].fingerprint, &after[0].fingerprint);
        prop_assert_eq!(&before[0].title, &after[0].title);
    }
}

#[test]
fn a_flood_of_heads_stays_bounded() {
    let log = b"[    1.000000] WARNING: CPU: 1 PID: 2 at a/b.c:1 foo+0x1/0x2\n".repeat(20_000);
    assert_eq!(splat::scan(&log).len(), 10_000);
}

#[test]
fn a_trace_without_end_keeps_a_bounded_number_of_frames() {
    let mut log =
        b"[    1.000000] BUG: scheduling while atomic: a/1/0x2\n[    1.000000] Call Trace:\n".to_vec();
    log.extend(b"[    1.000000]  foo+0x1/0x2\n".repeat(50_000));
    let findings = splat::scan(&log);
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].frames.len(), splat::Finding::MAX_FRAMES);
    assert!(findings[0].excerpt.len() <= splat::Finding::MAX_EXCERPT);
    assert!(findings[0].corrupted);
}

#[test]
fn a_report_of_long_ago_is_not_blamed_for_a_panic() {
    let panic = b"[  900.000000][    C0] Kernel panic - not syncing: Fatal exception\n";
    let after = |lines: usize| {
        let noise = b"[  500.000000][    T9] usb 1-1: new high-speed USB device\n".repeat(lines);
        splat::scan(&[KASAN, &noise, panic].concat()).len()
    };
    assert_eq!(after(10), 1, "the panic follows from the report");
    assert_eq!(after(5_000), 2, "the panic is a finding of its own");
}

#[test]
fn what_goes_to_a_terminal_holds_no_control_characters() {
    let log = b"[    1.000000] BUG: \x1b[2Jevil\x07 thing\x9b happened\n";
    let text = splat::render(&splat::scan(log));
    assert!(text.contains("evil"), "{text}");
    assert!(
        !Regex::new(r"(?-u)[\x00-\x09\x0b-\x1f\x7f]").expect("a pattern").is_match(text.as_bytes()),
        "{text:?}"
    );
}

#[test]
fn names_that_grow_without_end_when_they_are_demangled_cost_nothing() {
    let begun = std::time::Instant::now();
    let long = format!("x{}", "_y".repeat(1500));
    for name in ["_RMC0FGZZZ_Eu", "_RMC0FGZZZZZ_Eu", &long] {
        let mut log = String::from("[    1.0000] INFO: task a:1 blocked for more than 122 seconds.\n");
        log += "[    1.0000] task:a state:D stack:0 pid:1\n[    1.0000] Call Trace:\n";
        log += &format!("[    1.0000]  {name}+0x1/0x2\n").repeat(50);
        let [finding]: [splat::Finding; 1] = splat::scan(log.as_bytes()).try_into().expect("one");
        assert!(finding.frames.iter().all(|frame| frame.function.len() <= 512), "{name}");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}
