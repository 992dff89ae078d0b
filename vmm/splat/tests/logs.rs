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
