//! What a person sees in a terminal.

use super::*;

#[test]
fn a_pass_on_the_terminal() {
    let scenario = scenario(CHARDEV);
    insta::assert_snapshot!(shown(&judged(&scenario, &good_run(&scenario)), false));
}

#[test]
fn failures_on_the_terminal_show_expected_got_and_the_line() {
    let mut scenario = scenario(SYSCALL);
    let events = good_run(&scenario);
    scenario.steps[0].checks[1].want = scenario::model::Want::Success;
    let mut events = events;
    for event in &mut events {
        if let Event::StepEnded { index: 3 | 5, outcome: StepOutcome::Returned { value, .. } } = event {
            *value = -22;
        }
    }
    insta::assert_snapshot!(shown(&judged(&scenario, &events), false));
}

#[test]
fn where_a_guest_began_is_said_and_what_was_wrong_with_what_was_saved() {
    let scenario = scenario(SYSCALL);
    let (name, cold) = ("3f9c1a2".to_owned(), Duration::from_millis(1290));
    let starts = [
        (
            Start::Saved { name: name.clone(), cold },
            "boot      saved machine 3f9c1a2, ready in 38.0 ms (cold: 1.29 s)\n",
        ),
        (
            Start::Back { name, cold, reset: Default::default() },
            "boot      saved machine 3f9c1a2, reset in 38.0 ms (cold: 1.29 s)\n",
        ),
    ];
    for (start, line) in starts {
        let mut events = good_run(&scenario);
        if let Event::Booted(booted) = &mut events[0] {
            (booted.ready, booted.start) = (Duration::from_millis(38), start);
            booted.notes = vec!["the machine is not saved: /c/machines: no space left".to_owned()];
        }
        let all = judged(&scenario, &events);
        let text = shown(&all, false);
        assert!(text.contains(line), "{text}");
        assert!(text.contains("warning   the machine is not saved: /c/machines: no space left\n"), "{text}");
        let start = &written(&all)["start"];
        assert_eq!((&start["machine"], &start["cold_ms"]), (&"3f9c1a2".into(), &1290.0.into()), "{start}");
    }
}

#[test]
fn what_was_left_out_is_said_and_is_not_lost() {
    let scenario = scenario(SYSCALL);
    let mut all = judged(&scenario, &good_run(&scenario));
    let left_out = judge::LeftOut { console_bytes: 0, log_lines: 7, calls: 3 };
    all.insert(all.len() - 1, Judged::LeftOut(left_out));
    let text = shown(&all, false);
    assert!(
        text.contains("warning   left out: 7 lines of the kernel's log, 3 traced calls (no room"),
        "{text}"
    );
    let json = written(&all);
    assert_eq!((&json["log_lines_dropped"], &json["trace_calls_dropped"]), (&7.into(), &3.into()));
}

#[test]
fn calls_that_are_not_told_apart_are_in_the_verdicts_line() {
    let scenario = scenario(SYSCALL);
    let mut events = good_run(&scenario);
    for event in &mut events {
        if let Event::Counted(rows) = event {
            let mut beyond = rows[0].clone();
            (beyond.nr, beyond.count) = (u64::MAX, 4097);
            rows.push(beyond);
        }
    }
    let all = judged(&scenario, &events);
    let told = "4097 calls had made-up numbers of their own";
    let text = shown(&all, false);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("PASS ") && last.contains(told), "{text}");
}

#[test]
fn what_goes_wrong_is_shown_with_what_was_printed_and_logged() {
    let text = shown(&troubled(), false);
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
    // Every other report has the same, and takes nobody's words for results.
    let mut all = crate::record::Session::default();
    troubled().iter().for_each(|judged| _ = all.event(judged));
    all.finished = true;
    insta::assert_snapshot!(crate::ktap::render(&all));
    insta::assert_snapshot!(crate::junit::render(&all));
    insta::assert_snapshot!(crate::markdown::render(&all));
    let steps = written(&troubled())["steps"].clone();
    insta::assert_snapshot!(serde_json::to_string_pretty(&steps).unwrap());
}

#[test]
fn a_panic_on_the_terminal_shows_the_log_and_steers_no_terminal() {
    let end = vec![
        log("evil\u{1b}[2J\u{1b}]0;title\u{7} \u{202e}text", 6),
        log("BUG: kernel NULL pointer dereference, address: 0000000000000000", 1),
        log("Kernel panic - not syncing: Fatal exception", 0),
        Event::StepEnded { index: 9, outcome: StepOutcome::Lost },
    ];
    let text = shown(&broken_at(9, end, RunEnd::Panicked), false);
    assert!(!text.contains('\u{1b}'));
    insta::assert_snapshot!(text);
}

#[test]
fn a_splat_on_the_terminal_shows_where_it_was_and_how_it_came_there() {
    let warning = include_str!("../../../splat/tests/logs/warn-x86-6.8-dmesg-levels.log");
    let lines = warning.lines().filter_map(|line| line.split_once("] "));
    let mut middle: Vec<Event> = lines.map(|(_, text)| log(text, 4)).collect();
    middle.push(Event::StepEnded {
        index: 9,
        outcome: StepOutcome::Returned {
            value: 0,
            data: Vec::new(),
            took: Duration::from_micros(77),
            cut: false,
        },
    });
    let text = shown(&broken_at(9, middle.clone(), RunEnd::Completed), false);
    let findings: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("splat ")).take(8).collect();
    insta::assert_snapshot!(findings.join("\n"));
    let object = written(&broken_at(9, middle, RunEnd::Completed));
    insta::assert_snapshot!(serde_json::to_string_pretty(&object["findings"]).unwrap());
}

#[test]
fn a_hang_on_the_terminal_shows_where_the_vcpu_stood() {
    let vcpu = |rip, cpl| VcpuStanding { index: 0, rip, cpl, halted: false, interrupts: false };
    let standing = vec![vec![vcpu(0x1034, 0)], vec![vcpu(0x1034, 0)], vec![vcpu(0xffff_ffff_8100_0000, 0)]];
    let outcome = StepOutcome::TimedOut { limit: Duration::from_secs(10), standing };
    let end = vec![Event::StepEnded { index: 9, outcome }];
    insta::assert_snapshot!(shown(&broken_at(9, end, RunEnd::StepTimedOut { index: 9 }), false));
}

#[test]
fn colours_are_the_only_difference() {
    let scenario = scenario(CHARDEV);
    let all = judged(&scenario, &good_run(&scenario));
    let coloured = shown(&all, true);
    assert!(coloured.contains("\u{1b}[1m\u{1b}[32mPASS\u{1b}[0m"), "{coloured:?}");
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), shown(&all, false));
}

#[test]
fn the_end_of_many_runs_is_a_table_and_a_last_line_with_all_counts() {
    insta::assert_snapshot!(crate::summary::text(&recorded()));
}

#[test]
fn who_wants_to_see_everything_sees_what_a_good_step_logged_and_printed() {
    let scenario = scenario("steps:\n- run: /bin/x\n- sleep: 1 s\n");
    let mut events = vec![judge::fixture::booted(), Event::StepStarted { index: 0 }, log("hello, world", 6)];
    let output = |text: &str| engine::output::Output::from(text.as_bytes());
    events.push(Event::StepEnded {
        index: 0,
        outcome: StepOutcome::Exited {
            code: 0,
            stdout: output("one\ntwo\n"),
            stderr: output(""),
            took: Duration::from_millis(1),
        },
    });
    let all = judged(&scenario, &events);
    let page = Page::default();
    let mut terminal = Terminal::new(Box::new(page.clone()), false).with(crate::terminal::Detail::Everything);
    all.iter().for_each(|judged| terminal.event(judged).unwrap());
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let wanted =
        "\n      it printed\n        one\n        two\n      the kernel logged\n        hello, world\n";
    assert!(text.contains(wanted), "{text}");
    assert!(!shown(&all, false).contains("hello, world"), "nobody asked for that");
}
