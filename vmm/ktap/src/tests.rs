//! All the forms that there are, and hostile ones.

use crate::{Outcome, Parser, Summary};
use proptest::prelude::*;

fn read(text: &str) -> Summary {
    let mut parser = Parser::new();
    text.lines().for_each(|line| parser.line(line));
    parser.finish()
}

/// Each test as `name: outcome`.
fn tests(text: &str) -> Vec<String> {
    let line = |test: &crate::Test| {
        let why = test.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        format!("{}: {}{why}", test.name(), test.outcome.name())
    };
    read(text).tests.iter().map(line).collect()
}

#[track_caller]
fn bad(text: &str, problem: &str) {
    let found = read(text);
    assert!(found.is_bad(), "{text}");
    assert!(found.problems.iter().any(|it| it.contains(problem)), "{problem}: {:?}", found.problems);
}

#[test]
fn plain_results_with_plan_directives_and_noise() {
    let text = "KTAP version 1\n1..6\nok 1 first\nbooting something: ok\n# a comment\nok 2 - second\nnot ok 3 third # exit=1\n\
                ok 4 fourth # SKIP no such device\nnot ok 5 fifth # TODO not written yet\nnot ok 6 sixth # XFAIL\n";
    assert_eq!(
        tests(text),
        [
            "first: pass",
            "second: pass",
            "third: fail (exit=1)",
            "fourth: skipped (no such device)",
            "fifth: expected-failure (not written yet)",
            "sixth: expected-failure"
        ]
    );
    let found = read(text);
    assert_eq!(found.failed().map(crate::Test::name).collect::<Vec<_>>(), ["third"]);
    assert_eq!(
        (found.count(Outcome::Passed), found.count(Outcome::Skipped), found.problems.len()),
        (2, 1, 0)
    );
}

#[test]
fn colours_change_nothing() {
    assert_eq!(tests("\x1b[1;31mnot ok 1 - x\x1b[0m\n\x1b[32mok\x1b[m 2 y\n"), ["x: fail", "y: pass"]);
    assert!(read("\x1b[Knot ok 1 - x").is_bad() && !read("\x1b[").is_bad());
}

#[test]
fn less_or_more_than_the_plan_is_bad_wherever_the_plan_stands() {
    assert!(!read("TAP version 13\nok 1 a\nok 2 b\n1..2\n").is_bad());
    bad("TAP version 13\n1..3\nok 1 a\nok 2 b\n", "2 results, where 3 were planned");
    bad("ok 1 a\n1..2\n", "1 results, where 2 were planned");
    bad("1..1\nok 1 a\nok 2 b\n", "2 results, where 1 were planned");
    bad("KTAP version 1\n", "no results, though some were announced");
    // Without a plan the numbers tell.
    bad("KTAP version 1\nok 1 a\nok 3 c\n", "2 results, numbered up to 3");
    assert!(!read("KTAP version 1\nok 1 a\nok 2 b\n").is_bad());
}

#[test]
fn a_number_twice_or_left_out_is_bad_though_as_many_came_as_planned() {
    bad("TAP version 13\n1..2\nok 1 a\nok 1 a\n", "have the number 1");
    bad("TAP version 13\n1..2\nok 1 a\nok 3 c\n", "2 results, numbered up to 3");
    bad("1..1\nok 99999999999999999999 a\n", "numbered up to");
    // Tests that run beside each other end in any order, and TAP needs no numbers.
    assert!(!read("1..3\nok 3 c\nok 1 a\nok 2 b\n").is_bad());
    assert!(!read("1..3\nok 1 a\nok - b\nok 3 c\n").is_bad());
    // ksft_exit_skip() counts one too far.
    assert!(
        read("1..1\nok 2 # SKIP no device\n# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:1 error:0\n")
            .is_skipped()
    );
    bad("1..2\nok 2 # SKIP no device\nok 3 b\n", "numbered up to 3");
}

#[test]
fn a_plan_too_large_to_read_is_bad() {
    bad("TAP version 13\n1..99999999999999999999\nok 1 a\n", "the plan `1..99999999999999999999`");
    bad("1..99999999999999999999\n", "the plan");
}

#[test]
fn totals_that_tell_of_other_results_are_bad_in_every_form() {
    let failures = "failures that are not among the results";
    let start = "TAP version 13\n1..2\nok 1 a\nok 2 b\n";
    bad(&format!("{start}# Pass 1 Fail 1 Xfail 0 Xpass 0 Skip 0 Error 0\n"), failures);
    bad(&format!("{start}Pass 1 Fail 0 Xfail 0 Xpass 0 Skip 0 Error 1\n"), failures);
    bad(
        &format!("{start}# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:0 error:0\n"),
        "0 passed, where 2 are there",
    );
    bad(&format!("{start}# Totals: pass:3 fail:0 xfail:0 xpass:0 skip:0 error:0\n"), "tell of 3 results");
    bad(&format!("{start}# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:2 error:0\n"), "0 passed, where 2");
    bad("# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:0 error:1\n", failures);
    bad("# Totals: pass:0 fail:99999999999999999999\n", failures);
    let nested = "TAP version 13\n1..1\n# # Totals: pass:1 fail:2 xfail:0 xpass:0 skip:0 error:0\nok 1 x\n";
    bad(nested, failures);
    for good in [
        format!("{start}# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0\n"),
        format!("{start}# Pass 2 Fail 0 Xfail 0 Xpass 0 Skip 0 Error 0\n"),
        "TAP version 13\nok 1 a\n# Pass 1 Fail 0 Xfail 0 Xpass 0 Skip 0 Error 0\n1..1\n".into(),
        nested.replace("fail:2", "fail:0"),
    ] {
        assert!(!read(&good).is_bad(), "{good}: {:?}", read(&good).problems);
    }
}

#[test]
fn results_that_are_only_counted_fill_a_plan() {
    let text = "TAP version 13\n1..3\nPASS: 0 returned\nok 2 b\n# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:1 error:0\n";
    assert!(!read(text).is_bad(), "{:?}", read(text).problems);
    bad(&text.replace("skip:1", "skip:0"), "1 results, where 3 were planned");
    bad(&text.replace("skip:1", "skip:2"), "1 results, where 3 were planned");
    bad(&text.replace("pass:2 fail:0", "pass:1 fail:1"), "1 results, where 3 were planned");
    bad(&text.replace("pass:2", "pass:0").replace("skip:1", "skip:3"), "1 results, where 3 were planned");
    bad(&text.replace("1..3", "1..4"), "1 results, where 4 were planned");
}

#[test]
fn totals_of_kunit_are_those_of_the_parts() {
    let start = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: s\n    1..1\n    ok 1 a\n";
    for line in ["# s: pass:0 fail:1 skip:0 total:1", "# Totals: pass:0 fail:1 skip:0 total:1"] {
        bad(&format!("{start}{line}\nok 1 s\n"), "of `s` tell of 1 failures that are not");
        assert!(!read(&format!("{start}{}\nok 1 s\n", line.replace("fail:1", "fail:0"))).is_bad());
        let told = read(&format!("{}{line}\nnot ok 1 s\n", start.replace("ok 1 a", "not ok 1 a")));
        assert_eq!(told.problems, [""; 0]);
    }
    bad("# s: pass:0 fail:1 skip:0 total:1\n", "failures");
}

#[test]
fn stamps_of_the_kernels_log_hide_no_result() {
    for stamp in [
        "[    1.0] ",
        "[12345.678901] ",
        "<4>",
        "<4>[    1.000000] ",
        "[    1.000000][   T12] ",
        "[    1.000000] [T12] ",
        "<6>[   C0] ",
        "[Thu Nov 26 13:22:00 2026] ",
        "# [    1.000000] ",
    ] {
        let text = ["KTAP version 1", "1..1", "  KTAP version 1", "  1..1", "  not ok 1 x", "ok 1 s"];
        let text: String = text.iter().map(|line| format!("{stamp}{line}\n")).collect();
        assert_eq!(tests(&text), ["s / x: fail", "s: pass"], "{stamp}");
        assert!(read(&format!("{stamp}not ok 1 x")).is_bad(), "{stamp}");
    }
    // The log amid a program's own results has a plan of its own.
    let both = "1..2\nok 1 a\n[    1.0] 1..1\n[    1.0] ok 1 logged\nok 2 b\n";
    assert_eq!(read(both).problems, [""; 0]);
    assert_eq!(tests(both), ["a: pass", "b: pass", "logged: pass"]);
}

#[test]
fn a_failure_counts_though_it_is_indented_and_unannounced() {
    for text in ["  not ok 1 a\n", "# not ok 1 a\n", "\tnot ok 7 a\n", "text\n    ok 1 a\n    not ok 2 b\n"] {
        let found = read(text);
        assert_eq!((found.failed().count(), found.problems.len()), (1, 0), "{text}: {found:?}");
    }
    let deep: String = (0..30).map(|depth| format!("{}KTAP version 1\n", " ".repeat(depth))).collect();
    assert_eq!(read(&format!("{deep}{}not ok 1 a\n", " ".repeat(40))).failed().count(), 1);
    assert!(!read(&"\t".repeat(1_000_000)).is_ktap);
}

#[test]
fn bail_out_is_bad_and_says_why_once() {
    let found = read("TAP version 13\n1..5\nok 1 a\nBail out! no memory\n");
    assert_eq!(found.problems, ["the tests were given up (Bail out!): no memory"]);
    assert_eq!(found.tests.len(), 1);
    bad("Bail out!\n", "given up");
    bad("TAP version 13\n1..1\nok 1 a\nbail out! x\n", "given up (Bail out!): x");
    bad("TAP version 13\n1..1\n# TAP version 13\n# 1..2\n# Bail out! x\nnot ok 1 outer\n", "x");
}

#[test]
fn a_whole_plan_can_be_skipped() {
    let found = read("TAP version 13\n1..0 # SKIP needs root\n");
    assert!(found.is_skipped() && !found.is_bad(), "{found:?}");
    assert_eq!(tests("1..0 # skip needs root\n"), ["all tests: skipped (needs root)"]);
    assert!(!read("1..2\nok 1 a # SKIP\nok 2 b\n").is_skipped());
    assert!(read("1..2\nok 1 a # SKIP\nok 2 b # SKIP no\n").is_skipped());
}

#[test]
fn nested_results_are_named_by_what_they_are_parts_of() {
    let text = "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n    KTAP version 1\n    1..1\n    not ok 1 deep\n  not ok 1 middle\n  \
                ok 2 other\nnot ok 1 outer\nok 2 last\n";
    let expected = [
        "outer / middle / deep: fail",
        "outer / middle: fail",
        "outer / other: pass",
        "outer: fail",
        "last: pass",
    ];
    assert_eq!(tests(text), expected);
    let found = read(text);
    assert_eq!(found.failed().map(crate::Test::name).collect::<Vec<_>>(), ["outer / middle / deep"]);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    // A part that failed fails the whole, whatever that says of itself.
    let lies = read(&text.replace("not ok 1 outer", "ok 1 outer").replace("not ok 1 middle", "ok 1 middle"));
    assert!(lies.is_bad());
    bad(
        "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 outer\n",
        "1 results, where 2 were planned",
    );
    bad("KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\n", "0 results, where 1 were planned");
}

#[test]
fn kunit_as_the_kernel_logs_it() {
    let text = "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: example\n    # module: kunit_example_test\n    1..3\n    \
                # example_simple_test: initializing\n    ok 1 example_simple_test\nusb 1-1: new device\n        KTAP version 1\n        \
                # Subtest: example_params_test\n    # example_params_test: initializing\n        ok 1 example value 3\n        \
                ok 2 example value 2 # SKIP unsupported param value 2\n    # example_params_test: pass:1 fail:0 skip:1 total:2\n    \
                ok 2 example_params_test\n    # example_mark_skipped_test: initializing\n    ok 3 example_mark_skipped_test # SKIP this \
                test should be skipped\n# example: pass:2 fail:0 skip:1 total:3\n# Totals: pass:2 fail:0 skip:2 total:4\nok 1 \
                example\n    # Subtest: old\n    1..1\n    not ok 1 - old_test\nnot ok 2 - old\n";
    let found = read(text);
    let names: Vec<String> = found.tests.iter().map(crate::Test::name).collect();
    assert_eq!(
        names,
        [
            "example / example_simple_test",
            "example / example_params_test / example value 3",
            "example / example_params_test / example value 2",
            "example / example_params_test",
            "example / example_mark_skipped_test",
            "example",
            "old / old_test",
            "old",
        ]
    );
    assert_eq!(found.failed().map(crate::Test::name).collect::<Vec<_>>(), ["old / old_test"]);
    assert_eq!(found.problems, [""; 0]);
}

#[test]
fn kselftest_with_its_runner_and_totals() {
    let text = "TAP version 13\n1..2\n# timeout set to 45\n# selftests: mm: a\n# TAP version 13\n# 1..3\n# ok 1 map\n# ok 2 # SKIP \
                no huge pages\n# ok 3 # XFAIL odd\n# # Totals: pass:1 fail:0 xfail:1 xpass:0 skip:1 error:0\nok 1 selftests: mm: a\n# \
                selftests: mm: b\n# just text\nnot ok 2 selftests: mm: b # TIMEOUT 45 seconds\n";
    assert_eq!(
        tests(text),
        [
            "selftests: mm: a / map: pass",
            "selftests: mm: a / no huge pages: skipped",
            "selftests: mm: a / odd: expected-failure",
            "selftests: mm: a: pass",
            "selftests: mm: b: fail (TIMEOUT 45 seconds)",
        ]
    );
    bad(
        "TAP version 13\n1..1\nok 1 a\n# Totals: pass:0 fail:1 xfail:0 xpass:0 skip:0 error:0\n",
        "totals tell of 1 failures",
    );
}

#[test]
fn several_in_a_row_each_have_their_plan() {
    assert!(!read("TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..2\nok 1 a\nok 2 b\n").is_bad());
    assert!(!read("1..1\nok 1 a\n1..1\nok 1 b\n").is_bad());
    bad("TAP version 13\n1..2\nok 1 a\nTAP version 13\n1..1\nok 1 a\n", "1 results, where 2 were planned");
}

#[test]
fn what_programs_say_otherwise_is_no_result() {
    for text in [
        "ok\n",
        "okay 1\n",
        "ok, done\n",
        "all ok 1\n",
        "  ok 1 indented\n",
        "# ok 1 quoted\n",
        "1...5\n",
        "1..5 lines\n",
        "KTAP version of this\n",
        "not okay\n",
        "device 1-1: not ok 1\n",
        "[    1.0] device 1-1: not ok 1\n",
        "[1] not ok 1\n",
        "  not ok\n",
        "  not ok, said the driver\n",
        "  not ok 1 a # TODO\n",
        "it was ok 1 time, not ok 2 times\n",
        "we had to bail out!\n",
        "# Totals: many\n",
        "# Totals: pass:3 fail:0\n",
        "Pass 1 Fail 1\n",
        "# see: pass:1 fail:1\n",
        "# s: pass:a fail:1 skip:0 total:1\n",
    ] {
        assert!(!read(text).is_ktap, "{text}");
    }
    for text in ["not ok\n", "not ok 1 x\n", "not ok - x\n", "ok 1 a\nnot ok 2\n"] {
        assert!(read(text).is_bad(), "{text}");
    }
    assert_eq!(tests("ok 1 a \\# b # SKIP c\n"), ["a # b: skipped (c)"]);
    assert_eq!(tests("ok 1 issue #42\n"), ["issue #42: pass"]);
    assert_eq!(tests("ok 1\n"), ["test 1: pass"]);
    assert_eq!(tests("not ok 1 a # skip: no\r\n"), ["a: skipped (no)"]);
}

#[test]
fn a_flood_is_bounded_and_hides_no_failure() {
    let mut parser = Parser::new();
    parser.line("TAP version 13");
    for number in 1..=200_000 {
        parser.line(&format!("ok {number} {}", "x".repeat(2000)));
    }
    parser.line("not ok 200001 late");
    let found = parser.finish();
    assert!(found.tests.len() <= 10_000 && found.tests.iter().all(|test| test.name().len() < 600));
    assert_eq!(found.more, 190_001);
    assert!(found.is_bad(), "{:?}", found.problems);
    let deep: String =
        (0..100_000).map(|depth| format!("{}KTAP version 1\n", " ".repeat(depth % 200))).collect();
    assert!(read(&deep).is_bad());
}

/// Lines of which some are KTAP.
fn any_line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("KTAP version 1".to_owned()),
        Just("1..3".to_owned()),
        Just("1..18446744073709551615".to_owned()),
        Just("Bail out! x".to_owned()),
        Just("1..99999999999999999999".to_owned()),
        Just("[    1.0] not ok 1 x".to_owned()),
        Just("# Pass 1 Fail 0 Xfail 0 Xpass 0 Skip 0 Error 0".to_owned()),
        Just("# s: pass:1 fail:0 skip:0 total:1".to_owned()),
        Just("# Subtest: s".to_owned()),
        Just("# Totals: pass:1 fail:1 error:18446744073709551615".to_owned()),
        (any::<bool>(), any::<Option<u64>>(), "\\PC{0,10}").prop_map(|(good, number, name)| {
            let number = number.map_or(String::new(), |number| format!(" {number}"));
            format!("{}ok{number} {name}", if good { "" } else { "not " })
        }),
        any::<String>(),
    ];
    ("[ #\t]{0,12}", piece).prop_map(|(indent, piece)| format!("{indent}{piece}"))
}

/// Tests within tests: text of a level, and how many failed in it.
fn any_results() -> impl Strategy<Value = (String, usize)> {
    let leaf = any::<bool>().prop_map(|good| (String::new(), good));
    let level = prop::collection::vec(leaf, 1..5).prop_map(|tests| {
        let failed = tests.iter().filter(|(_, good)| !good).count();
        let mut text = format!("KTAP version 1\n1..{}\n", tests.len());
        for (index, (_, good)) in tests.iter().enumerate() {
            text.push_str(&format!("{}ok {} t{index}\n", if *good { "" } else { "not " }, index + 1));
        }
        (text, failed)
    });
    level.prop_recursive(3, 20, 4, |inner| {
        prop::collection::vec(inner, 1..4).prop_map(|levels| {
            let mut text = format!("KTAP version 1\n1..{}\n", levels.len());
            let mut all = 0;
            for (index, (inner, failed)) in levels.iter().enumerate() {
                inner.lines().for_each(|line| text.push_str(&format!("  {line}\n")));
                text.push_str(&format!(
                    "{}ok {} s{index}\n",
                    if *failed == 0 { "" } else { "not " },
                    index + 1
                ));
                all += failed;
            }
            (text, all)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic_or_forget_a_failure(lines in prop::collection::vec(any_line(), 0..40)) {
        let found = read(&lines.join("\n"));
        prop_assert!(!found.is_skipped() || !found.is_bad());
        let plain = lines.iter().any(|line| line.starts_with("not ok 1 ") && !line.contains('#') && !line.contains(['\n', '\r']));
        prop_assert!(!plain || found.is_bad());
    }

    #[test]
    fn well_formed_results_are_all_found_in_either_indentation((text, failed) in any_results(), hashes in any::<bool>()) {
        let text = if hashes {
            text.lines().map(|line| {
                let inner = line.trim_start();
                format!("{}{inner}\n", "# ".repeat((line.len() - inner.len()) / 2))
            }).collect()
        } else {
            text
        };
        let found = read(&text);
        prop_assert_eq!(found.failed().count(), failed, "{}", text);
        prop_assert_eq!(found.problems.len(), 0, "{:?} in\n{}", found.problems, text);
        prop_assert_eq!(found.is_bad(), failed > 0);
    }

    #[test]
    fn a_cut_is_always_found((text, _) in any_results(), at in any::<prop::sample::Index>()) {
        let lines: Vec<&str> = text.lines().collect();
        let kept = 1 + at.index(lines.len());
        prop_assert!(kept == lines.len() || read(&lines[..kept].join("\n")).is_bad());
    }
}
