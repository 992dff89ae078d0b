//! The lines inside of a report, by their beginnings.

use std::sync::LazyLock;

use regex::Regex;

pub static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:<[0-9A-Za-z_]+> ?)?(?:Call [Tt]race:|Backtrace: ?|(?:stack )?backtrace(?: \(crc [0-9a-f]+\))?:|Stack backtrace:",
        // KCSAN and KFENCE say what was done instead of "Call Trace".
        r"|(?:read|write|read-write)(?: \([0-9A-Za-z_]+\))? to 0x|race at unknown origin, with (?:read|write)|assert no (?:writes|accesses) to 0x",
        r"|.{1,40} at 0x[0-9a-f]+ (?:\(in kfence-#|\((?:[0-9]+B )?(?:left|right) of|of kfence-#|\[)|Corrupted memory at 0x|Invalid (?:free of|read|write|access))",
    ))
    .expect("a constant pattern")
});

pub static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:(?:Allocated|Freed|allocated|freed|Created|INFO: Allocated|INFO: Freed|Allocated in|Freed in)\b.*(?:by task|:$|age=)",
        r"|Last potentially related|Second to last|Uninit was|Local variable|kfence-#[0-9]+|the existing dependency chain|Memory state around",
        r"|Showing all locks held|Last Breaking-Event|Kernel Offset:|Modules linked in:|The buggy address|which was|Reported by Kernel|value changed:|Disabling lock debugging)",
    ))
    .expect("a constant pattern")
});

/// Registers and the other furniture of a report: says nothing to us, but belongs to it.
pub static FURNITURE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:[RE]?(?:IP|SP|AX|BX|CX|DX|SI|DI|BP)(?:: | is)|R[0-9][0-9]: |[FCDEG]S: |CR[0-9]: |DR[0-9]: |PKRU: |Code: |Stack: ?|</?[A-Z#]+>|CPU: |Hardware name: |Modules linked in:|Workqueue: |Stopper: ",
        r"|[xr][0-9]+ *: |sp : |pc : |lr : |pstate: |psr: |Tainted: |task: |task:|Kernel Offset|---\[|Oops|#PF: |PGD |pgd |\[[0-9a-f]{8,16}\] |user pgtable|Mem abort info|ESR |EC |ESR = |SET |FSC |Data abort|ISV |CM |GCS",
        r"|=====|-----|other info|locks? held by|[0-9]+ locks? held by|#[0-9]|-> #|but task|and this task|which lock|Chain exists|Possible unsafe|CPU0|lock\(|\*\*\*|Read of size|Write of size|Read at|Free of addr|page:|flags: |raw: |page dumped|\.\.\.|>?[0-9a-f]{8,16}: |\^",
        r"|Allocated by|Freed by|The buggy|which belongs|Memory state|INFO: |NMI backtrace|Sending NMI|rcu: |\(t=|irq event stamp|hardirqs last|softirqs last|Preemption disabled|in_atomic|preempt_count|RCU nest|Object|Redzone|Padding|Exception stack",
        r"|epc|status:|gp : |tp : |t[0-9] |a[0-9] |s[0-9] |GPR|NIP|LR |MSR|REGS:|Krnl|GPRS|R:0|Last Breaking|Process |Internal error|KASAN:|note:|Rebooting|Dumping ftrace|\(ftrace|handlers:|Trace|Fixing)",
    ))
    .expect("a constant pattern")
});

pub static ACCESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?<access>Read|Write)(?: of size [0-9]+| at addr)").expect("a constant pattern")
});

/// Panics that say which other trouble they follow, so they are no finding of their own: the reason begins so. Whoever finds the
/// trouble may name himself before it (`check_panic_on_warn()` of kernel/panic.c).
pub static CONSEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:Kernel panic - not syncing: )?",
        r"(?:Fatal exception|(?:[\w -]{1,40}: )?(?:panic_on_|system warned too often)|kernel\.panic_on_|Oops|BUG!$|hung_task|blocked tasks|softlockup|soft lockup|[hH]ard LOCKUP",
        r"|RCU Stall|RCU stall|k[am]san\.|kasan|KASAN|KFENCE|kfence|UBSAN|Machine halted|Fatal error|System (?:is )?dead|workqueue)",
    ))
    .expect("a constant pattern")
});

/// Says whose trace comes next, in a report of a stall.
pub static MARKER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^(?:rcu: )?(?:(?<gp>RCU grace-period kthread stack dump:|(?:task:)?rcu_(?:preempt|sched|bh|gp|exp)\S* +(?:state:)?[RSDI])",
        r"|(?<ran>Stack dump where RCU GP kthread last ran:)|(?<cpu>NMI backtrace for cpu \d+(?: |$))",
        r"|(?<task>Task dump for CPU \d+:|task:\S.* state:[A-Z]|\S.{0,15} +R +running task))",
    ))
    .expect("a constant pattern")
});

/// `Modules linked in: foo(O) [last unloaded: bar(O)]`.
pub static LAST_UNLOADED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[last unloaded: (?<module>[A-Za-z0-9_-]{1,64})").expect("a constant pattern")
});

/// The function of a work item that left with a lock, or in atomic context (`process_one_work()`).
pub static WORK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^last function: |\bworkfn=)(?<func>[A-Za-z_][\w.]*)").expect("a constant pattern")
});
