//! What the texts of `expect` and `allow` are looked for in.

use crate::{findings_test::*, *};

const UBSAN: &str = include_str!("../../splat/tests/logs/ubsan-shift-x86-6.9.log");
const KCSAN: &str = include_str!("../../splat/tests/logs/kcsan-x86-5.10.log");
const KFENCE: &str = include_str!("../../splat/tests/logs/kfence-x86-6.1.log");
const KMSAN: &str = include_str!("../../splat/tests/logs/kmsan-x86-6.4.log");

#[test]
fn a_text_is_looked_for_in_the_message_and_in_no_trace() {
    let verdict = |text: &str, log: &str| {
        let allowed = format!("allow: {{splat: {{contains: '{text}'}}, reason: known}}\n{PLAIN}");
        first(&allowed, records(log), returned()).verdict
    };
    for (log, said, called) in [
        (UBSAN, "shift exponent 64 is too large", "vfs_write"),
        (KCSAN, "data-race in counter_bump / counter_show", "seq_read_iter"),
        (KFENCE, "Use-after-free read at 0x", "stash_ioctl"),
        (KMSAN, "uninit-value in ioctl_parse", "x_ioctl"),
    ] {
        assert_eq!(verdict(said, log), Verdict::Pass, "{said}");
        assert_eq!(verdict(called, log), Verdict::Splat, "{called}");
    }
}
