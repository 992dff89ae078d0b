//! What is being reported when the last step is over.

use super::*;

/// How long the guest is left running behind its last step, in which this is logged.
fn left_running(level: u8, lines: &[&str]) -> Duration {
    let mut over = None;
    events(&one_call(), |machine| {
        machine.boot();
        let request = machine.request().unwrap();
        lines.iter().for_each(|line| machine.print(level, line));
        machine.reply(request.id, returned(7));
        let answered = Instant::now();
        assert!(machine.request().is_none(), "it is told to stop");
        over = Some(answered.elapsed());
    });
    over.unwrap()
}

#[test]
fn a_report_on_the_only_processor_has_the_time_to_be_counted() {
    for head in ["------------[ cut here ]------------", "Oops: general protection fault: 0000 [#1] SMP"] {
        assert!(left_running(4, &[head, "and so on"]) >= SETTLES, "{head}");
    }
    assert!(left_running(1, &["BUG: kernel NULL pointer dereference, address: 0"]) >= SETTLES);
}

#[test]
fn a_guest_that_reports_nothing_is_not_waited_for() {
    // However busy this machine is, not each of several tries takes so long.
    let fast = |level, line: &str| (0..20).any(|_| left_running(level, &[line]) < SETTLES);
    assert!(fast(4, "hello: loading out-of-tree module taints kernel."));
    assert!(fast(6, "BUG: fixed"));
}
