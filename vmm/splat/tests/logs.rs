//! Every log in `logs/` gives exactly the findings of its snapshot.

use std::path::Path;

fn logs() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let mut logs: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "log"))
        .map(|path| {
            let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a fixture"))
        })
        .collect();
    logs.sort();
    logs
}

#[test]
fn every_log_gives_its_findings() {
    for (name, log) in logs() {
        insta::assert_snapshot!(name.as_str(), splat::render(&splat::scan(&log)));
    }
}

#[test]
fn only_damaged_logs_are_called_corrupted() {
    for (name, log) in logs() {
        let findings = splat::scan(&log);
        assert_eq!(findings.is_empty(), name.starts_with("clean-"), "{name}");
        for finding in findings {
            assert_eq!(finding.corrupted, name.starts_with("damaged-"), "{name}: {finding}");
            assert_eq!(finding.corrupted, !finding.damage.is_empty(), "{name}");
        }
    }
}

#[test]
fn json_has_the_fields_that_users_rely_on() {
    let (_, log) = logs().into_iter().find(|(name, _)| name == "oops-null-x86-6.12").expect("the fixture");
    let value = serde_json::to_value(splat::scan(&log)).expect("plain data");
    assert_eq!(value[0]["kind"], "oops");
    assert_eq!(value[0]["title"], "BUG: kernel NULL pointer dereference in chardev_write");
    assert_eq!(value[0]["function"], "chardev_write");
    assert_eq!(value[0]["frames"][0]["module"], "chardev");
    assert_eq!(value[0]["frames"][0]["offset"], 0x1c);
    assert_eq!(value[0]["corrupted"], false);
    assert_eq!(value[0]["fingerprint"].as_str().map(str::len), Some(16));
    assert_eq!(value[0]["taint"], "O");
}

#[test]
fn a_clean_log_gives_an_empty_array() {
    assert_eq!(
        serde_json::to_string(&splat::scan(b"[    0.000000] Linux version 6.12\n")).expect("plain data"),
        "[]"
    );
}

#[test]
fn the_same_trouble_has_one_fingerprint_in_every_format_and_on_every_architecture() {
    let of = |name: &str| {
        let (_, log) = logs().into_iter().find(|(n, _)| n == name).expect("the fixture");
        splat::scan(&log).remove(0).fingerprint
    };
    for (one, other) in [
        ("oops-null-x86-6.12", "format-crlf-ansi"),
        ("oops-null-x86-6.12", "oops-riscv-6.6"),
        ("warn-x86-6.8-dmesg-levels", "warn-x86-7.1-new-head"),
        ("warn-x86-6.8-dmesg-levels", "interleaved-caller"),
    ] {
        assert_eq!(of(one), of(other), "{one} and {other}");
    }
    assert_ne!(of("oops-null-x86-6.12"), of("warn-x86-6.8-dmesg-levels"));
}

#[test]
fn where_and_when_it_happened_changes_neither_title_nor_fingerprint() {
    let changes = [
        (r"^\[ *[0-9]+\.[0-9]+\]", "[86400.123456]"),
        (r"\bffff[0-9a-f]{12}\b", "ffff8880deadb000"),
        (r"0xffff[0-9a-f]{12}\b", "0xffffffffa0abc120"),
        (r"\b0000000[0-9a-f]{9}\b", "00000000deadbeef"),
        (r"\+0x[0-9a-f]+/0x[0-9a-f]+", "+0x321/0x4321"),
        (r"\bCPU: [0-9]+", "CPU: 7"),
        (r"\bCPU#[0-9]+", "CPU#7"),
        (r"\b(on|for|NMI from|to|Task dump for) (cpu|CPU|CPUs) [0-9]+", "$1 $2 7"),
        (r"\bPID: [0-9]+", "PID: 4711"),
        (r"\bpid([:=] *)[0-9]+", "pid${1}4711"),
        (r"(task|by task) ([\w-]*)([/:])[0-9]+", "$1 $2${3}4711"),
        (r"\[ *T[0-9]+\]", "[ T4711]"),
        (r"age=[0-9]+ cpu=[0-9]+", "age=99 cpu=7"),
        (r"stuck for [0-9]+s", "stuck for 99s"),
        (r"\[#[0-9]+\]", "[#3]"),
    ]
    .map(|(from, to)| (regex::Regex::new(from).expect("a pattern"), to));
    let mut tried = 0;
    for (name, log) in logs() {
        let Ok(text) = String::from_utf8(log) else { continue };
        if name.starts_with("damaged-") || name.contains("interleaved") {
            continue;
        }
        let change = |line: &str| {
            changes.iter().fold(line.to_owned(), |line, (from, to)| from.replace_all(&line, *to).into_owned())
        };
        let changed: Vec<String> = text.lines().map(change).collect();
        let known = |log: &[u8]| -> Vec<(String, String)> {
            splat::scan(log).into_iter().map(|it| (it.title, it.fingerprint)).collect()
        };
        assert_eq!(known(changed.join("\n").as_bytes()), known(text.as_bytes()), "{name}");
        tried += usize::from(!known(text.as_bytes()).is_empty());
    }
    assert!(tried > 80, "only {tried} logs");
}

#[test]
fn a_symboliser_changes_neither_name_nor_fingerprint() {
    let place = regex::Regex::new(r" [\w/.-]+\.[ch]:[0-9]+$").expect("a pattern");
    let mut tried = 0;
    for (name, log) in logs().into_iter().filter(|(name, _)| name.contains("symbolised")) {
        let text = String::from_utf8(log).expect("text");
        let raw: Vec<_> = text
            .lines()
            .filter(|line| !line.ends_with("[inline]"))
            .map(|line| place.replace(line, ""))
            .collect();
        let (with, without) = (splat::scan(text.as_bytes()), splat::scan(raw.join("\n").as_bytes()));
        assert_eq!((with.len(), without.len()), (1, 1), "{name}");
        assert_ne!(with[0].frames, without[0].frames, "{name}");
        assert_eq!(
            (&with[0].title, &with[0].fingerprint),
            (&without[0].title, &without[0].fingerprint),
            "{name}"
        );
        tried += 1;
    }
    assert_eq!(tried, 3);
}

#[test]
fn a_stall_has_one_fingerprint_wherever_in_its_loop_the_cpu_was() {
    let (_, log) =
        logs().into_iter().find(|(n, _)| n == "soft-lockup-timer-x86-6.12-caller").expect("the fixture");
    let log = String::from_utf8(log).expect("text");
    let elsewhere = log
        .replace("blinker_spin+0x14/0x20 [blinker]", "blinker_count+0x4/0x50 [blinker]")
        .replace("CPU#1", "CPU#0");
    assert_ne!(log, elsewhere);
    let (one, other) = (splat::scan(log.as_bytes()).remove(0), splat::scan(elsewhere.as_bytes()).remove(0));
    assert_ne!(one.frames, other.frames);
    assert_eq!((one.title, one.fingerprint), (other.title, other.fingerprint));
}

#[test]
fn a_log_that_comes_line_by_line_gives_the_findings_of_the_whole() {
    for (name, log) in logs() {
        let mut scanner = splat::Scanner::new();
        let mut findings = Vec::new();
        for line in log.split(|byte| *byte == b'\n') {
            scanner.line(line);
            findings.extend(scanner.settled());
        }
        findings.extend(scanner.finish());
        findings.sort_by_key(|finding| finding.lines.first);
        assert_eq!(findings, splat::scan(&log), "{name}");
    }
}

#[test]
fn what_has_not_ended_is_found_as_it_stands() {
    let (_, log) = logs().into_iter().find(|(name, _)| name == "oops-null-x86-6.12").expect("the fixture");
    let mut scanner = splat::Scanner::new();
    let mut seen = None;
    for line in log.split(|byte| *byte == b'\n').take(20) {
        scanner.line(line);
        assert!(scanner.settled().is_empty(), "the report is not at its end");
        seen = scanner.unsettled().pop();
    }
    assert_eq!(seen.map(|finding| finding.kind), Some(splat::Kind::Oops));
}

#[test]
fn the_message_of_a_warning_is_in_its_excerpt_though_it_comes_before_the_head() {
    let (_, log) =
        logs().into_iter().find(|(name, _)| name == "warn-x86-6.8-dmesg-levels").expect("the fixture");
    let found = splat::scan(&log).remove(0);
    assert_eq!(found.excerpt[0], "foo: queue 3 still busy");
    // Lines that no report follows are no message.
    let chatter = "one\n".repeat(20);
    let log = format!("------------[ cut here ]------------\n{chatter}{}", String::from_utf8_lossy(&log));
    assert_eq!(splat::scan(log.as_bytes())[0].excerpt[0], "foo: queue 3 still busy");
}

/// A line without the console's own time stamp and caller.
fn bare(line: &str) -> &str {
    let line = line.strip_prefix("<4>").unwrap_or(line);
    let Some((_, rest)) = line.split_once("] ").filter(|_| line.starts_with('[')) else { return line };
    rest
}

#[test]
fn what_tools_put_before_lines_changes_nothing() {
    type Format = fn(&str) -> String;
    let formats: &[(&str, Format)] = &[
        ("GitHub Actions", |line| format!("2026-11-23T16:31:25.1234567Z {line}")),
        ("GitHub Actions, no stamp", |line| format!("2026-11-23T16:31:25.1234567Z {}", bare(line))),
        ("both", |line| format!("2026-11-23T16:31:25.1234567Z Nov 23 16:31:25 host kernel: {}", bare(line))),
        ("journalctl", |line| format!("Nov 23 16:31:25 host kernel: {}", bare(line))),
        ("journalctl -o short-iso", |line| format!("2026-11-23T16:31:25+0100 host kernel: {}", bare(line))),
        ("kern.log", |line| format!("2026-11-23T16:31:25.123456+01:00 host kernel: {line}")),
        ("dmesg -T", |line| format!("[Mon Nov 23 16:31:25 2026] {}", bare(line))),
        ("dmesg --time-format iso", |line| format!("2026-11-23T16:31:25,123456+01:00 {}", bare(line))),
        ("dmesg --reltime, a new minute", |line| format!("[Nov23 16:31] {}", bare(line))),
        ("dmesg --reltime", |line| format!("[  +0.000012] {}", bare(line))),
        ("dmesg -d", |line| format!("[   31.000536 <    0.000012>] {}", bare(line))),
        ("ts", |line| format!("[2026-11-23 16:31:25] {line}")),
        ("a clock", |line| format!("16:31:25.123 {line}")),
        ("a clock, no stamp", |line| format!("[16:31:25] {}", bare(line))),
        ("KTAP", |line| format!("    # {line}")),
        ("docker compose", |line| format!("guest-1  | {line}")),
        ("logcat", |line| format!("11-23 16:31:25.123     0     0 W KERNEL  : {}", bare(line))),
        ("indented", |line| format!("\t{line}")),
        ("two carriage returns", |line| format!("{line}\r\r")),
    ];
    let mut tried = 0;
    for (name, log) in logs() {
        // Who printed what is told by callers alone.
        if name.starts_with("damaged-") || name.contains("interleaved") || name.starts_with("format-") {
            continue;
        }
        let Ok(text) = std::str::from_utf8(&log) else { continue };
        // Those that have a format of their own are not put into another one.
        if !text
            .lines()
            .filter(|line| !line.is_empty())
            .all(|line| line.starts_with('[') || line.starts_with("<4>["))
        {
            continue;
        }
        let known = |log: &[u8]| -> Vec<(String, bool, usize)> {
            let findings = splat::scan(log).into_iter();
            findings.map(|it| (it.fingerprint, it.corrupted, it.frames.len())).collect()
        };
        tried += 1;
        for (format, change) in formats {
            let changed: String = text
                .lines()
                .map(|line| if line.is_empty() { "\n".into() } else { change(line) + "\n" })
                .collect();
            assert_eq!(known(changed.as_bytes()), known(&log), "{name} as of {format}");
        }
    }
    assert!(tried > 20, "only {tried} logs");
}
