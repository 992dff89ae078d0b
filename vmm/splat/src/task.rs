//! The line that says where and in whose context a report was printed: CPU, process and taint.

use std::sync::LazyLock;

use regex::Regex;

/// What `dump_stack_print_info()` (Linux lib/dump_stack.c) and its forerunners print.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    pub cpu: Option<u32>,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub taint: Option<String>,
}

// Since 6.11 a UID stands between CPU and PID.
static CONTEXT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^CPU: (?<cpu>[0-9]{1,5}) (?:UID: [0-9]+ )?PID: (?<pid>[0-9]{1,9}) Comm: (?<comm>.{0,64}?) (?:Not tainted|Tainted:|Kdump:)")
        .expect("a constant pattern")
});

// Old lockdep and slab heads print version and taint on a line of their own.
static TAINT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\bTainted: (?<letters>(?:[A-Z]+(?: +|$|\)))+)").expect("a constant pattern")
});

impl Task {
    /// Whether this line is a context line with CPU and process.
    pub fn is_context(text: &str) -> bool {
        text.starts_with("CPU: ") && text.contains(" PID: ")
    }

    /// Adds what `text` tells and is not known yet.
    pub fn learn(&mut self, text: &str) {
        if (self.comm.is_none() || self.cpu.is_none())
            && let Some(found) = CONTEXT.captures(text)
            // Another task's line, such as that of the watchdog which noticed.
            && self.pid.is_none_or(|pid| found["pid"].parse() == Ok(pid))
        {
            self.cpu = found["cpu"].parse().ok();
            self.pid = found["pid"].parse().ok().or(self.pid);
            self.comm = Some(found["comm"].to_owned());
        }
        if self.taint.is_none() {
            if text.contains("Not tainted") {
                self.taint = Some(String::new());
            } else if let Some(found) = TAINT.captures(text) {
                // `G` says that no proprietary module is loaded: the absence of a taint.
                self.taint =
                    Some(found["letters"].chars().filter(|c| c.is_ascii_uppercase() && *c != 'G').collect());
            }
        }
    }
}
