//! What a benchmark found, for a person.

use super::{Spread, build::What, calls::Way};
use base::text::time as duration;
use host::boot_bench::Sample;
use std::{fmt::Write, time::Duration};

/// Exits to user space until the agent is ready: no more than this.
const MOST_EXITS: u64 = 100;

/// Of QEMU's microvm, with the same kernel and agent: at most this part.
const MICROVM: f64 = 0.75;

/// From the kernel's start of `/init` to the agent's hello.
const AGENT: Duration = Duration::from_millis(60);

/// The machine process's own memory: less than this, in KiB.
const MOST_MEMORY_KIB: u64 = 10 << 10;

/// The result of [`host::boot_bench`].
pub fn boot(host: &str, samples: &[Sample]) -> String {
    let mut vmm = Vec::new();
    let mut text = format!("boot: process start to agent ready, in turns, on {host}\n");
    for sample in samples {
        match sample {
            Sample::Vmm { ready, setup, kernel, exits, own_memory_kib } => {
                vmm.push((*ready, *setup, *kernel, *exits, *own_memory_kib));
            }
            Sample::Failed { who, why } => _ = writeln!(text, "a run of {who} failed: {why}"),
            Sample::Qemu { .. } => {}
        }
    }
    let qemu = Spread::of(samples.iter().filter_map(|sample| match sample {
        Sample::Qemu { ready } => Some(*ready),
        _ => None,
    }));
    let Some(ready) = Spread::of(vmm.iter().map(|sample| sample.0)) else {
        return text + "no run of vmm got there\n";
    };
    let runs = vmm.len();
    let _ = writeln!(text, "{:<14}{:>10}{:>10}{:>10}   {runs} runs", "", "min", "median", "max");
    let mut line = |name: &str, spread: &Spread<Duration>| {
        let [min, median, max] = [spread.min, spread.median, spread.max].map(duration);
        let _ = writeln!(text, "{name:<14}{min:>10}{median:>10}{max:>10}");
    };
    line("vmm", &ready);
    match &qemu {
        Some(qemu) => line("QEMU microvm", qemu),
        None => text.push_str("QEMU microvm   not measured: there is no qemu-system-x86_64 here\n"),
    }
    if let Some(qemu) = qemu {
        let ratio = ready.median.as_secs_f64() / qemu.median.as_secs_f64();
        let _ = writeln!(
            text,
            "vmm takes {ratio:.2} of microvm's time at the median ({})",
            bar(ratio <= MICROVM)
        );
    }
    let setup = Spread::of(vmm.iter().map(|sample| sample.1)).expect("there is a run").median;
    if let Some(kernel) = Spread::of(vmm.iter().filter_map(|sample| sample.2)) {
        let agent = ready.median.saturating_sub(setup + kernel.median);
        let held = bar(agent <= AGENT);
        let [setup, kernel, agent] = [setup, kernel.median, agent].map(duration);
        let _ =
            writeln!(text, "of it at the median: set-up {setup}, kernel {kernel}, agent {agent} ({held})");
    }
    let exits = Spread::of(vmm.iter().map(|sample| sample.3)).expect("there is a run").max;
    let _ = writeln!(text, "exits to user space until ready: {exits} ({})", bar(exits <= MOST_EXITS));
    let memory = Spread::of(vmm.iter().map(|sample| sample.4)).expect("there is a run").max;
    let held = bar(memory < MOST_MEMORY_KIB);
    let _ = writeln!(
        text,
        "memory of the machine process without the guest's: {:.1} MiB ({held})",
        memory as f64 / 1024.0
    );
    text
}

/// Counting a call is so many times cheaper than strace, at least.
const STRACE: f64 = 5.0;

/// All of the evidence may cost so many times what results cost.
const EVIDENCE: f64 = 1.2;

/// And what is not trapped so many times what it costs alone.
const PROTECTION: f64 = 1.05;

/// The result of [`super::calls`]: what one call took in each way, in several rounds.
pub fn calls(host: &str, rounds: &[(Way, Duration)]) -> String {
    let mut text = format!("system calls: getppid in a loop, on {host}\n");
    let _ = writeln!(text, "{:<22}{:>10}{:>10}{:>10}", "one call", "min", "median", "max");
    let of = |way: Way| Spread::of(rounds.iter().filter(|round| round.0 == way).map(|round| round.1));
    for way in Way::ALL {
        match of(way) {
            Some(spread) => {
                let [min, median, max] = [spread.min, spread.median, spread.max].map(duration);
                let _ = writeln!(text, "{:<22}{min:>10}{median:>10}{max:>10}", way.name());
            }
            None => _ = writeln!(text, "{:<22}not measured", way.name()),
        }
    }
    if let (Some(counted), Some(strace)) = (of(Way::Counted), of(Way::Strace)) {
        let ratio = strace.median.as_secs_f64() / counted.median.as_secs_f64().max(1e-9);
        let _ =
            writeln!(text, "strace takes {ratio:.1} times as long as counting ({})", bar(ratio >= STRACE));
    }
    let ratio = |way, to| Some(of(way)?.median.as_secs_f64() / of(to)?.median.as_secs_f64().max(1e-9));
    if let Some(ratio) = ratio(Way::Full, Way::Results) {
        let held = bar(ratio <= EVIDENCE);
        let _ = writeln!(text, "full evidence takes {ratio:.2} times as long as results alone ({held})");
    }
    if let Some(ratio) = ratio(Way::Protected, Way::Untrapped) {
        let held = bar(ratio <= PROTECTION);
        let _ = writeln!(text, "untrapped, protected pages make it {ratio:.2} times as long ({held})");
    }
    text
}

/// Building one changed file may take so many times as long as make alone.
const OVERHEAD: f64 = 1.10;

/// Finding that nothing changed takes less than this.
const UNCHANGED: Duration = Duration::from_millis(500);

/// The result of [`super::build`].
pub fn build(kernel: &str, samples: &[(What, Duration)]) -> String {
    let mut text = format!("build: one changed file of Linux {kernel}, in turns, in one build folder\n");
    let _ = writeln!(text, "{:<22}{:>10}{:>10}{:>10}", "", "min", "median", "max");
    let of = |what: What| Spread::of(samples.iter().filter(|it| it.0 == what).map(|it| it.1));
    let names =
        [(What::Vmm, "vmm kernel build"), (What::Make, "make"), (What::Unchanged, "vmm, nothing changed")];
    for (what, name) in names {
        if let Some(spread) = of(what) {
            let [min, median, max] = [spread.min, spread.median, spread.max].map(duration);
            let _ = writeln!(text, "{name:<22}{min:>10}{median:>10}{max:>10}");
        }
    }
    if let (Some(vmm), Some(make), Some(unchanged)) = (of(What::Vmm), of(What::Make), of(What::Unchanged)) {
        let ratio = vmm.median.as_secs_f64() / make.median.as_secs_f64().max(1e-9);
        let held = bar(ratio <= OVERHEAD);
        let _ = writeln!(text, "vmm takes {ratio:.2} of make's time at the median ({held})");
        let held = bar(unchanged.median < UNCHANGED);
        let _ = writeln!(text, "nothing changed: {} ({held})", duration(unchanged.median));
    }
    text
}

fn bar(held: bool) -> &'static str {
    if held { "within the bar" } else { "MISSES THE BAR" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmm(ready: u64, exits: u64) -> Sample {
        let millis = Duration::from_millis;
        let (setup, kernel) = (millis(10), Some(millis(60)));
        Sample::Vmm { ready: millis(ready), setup, kernel, exits, own_memory_kib: 2048 }
    }

    #[test]
    fn medians_are_compared_and_bars_are_judged() {
        let qemu = |ready| Sample::Qemu { ready: Duration::from_millis(ready) };
        let text =
            boot("a host", &[vmm(100, 50), qemu(200), vmm(90, 101), qemu(100), vmm(900, 1), qemu(125)]);
        assert!(text.contains("vmm takes 0.80 of microvm's time at the median (MISSES THE BAR)"), "{text}");
        assert!(text.contains("until ready: 101 (MISSES THE BAR)"), "{text}");
        assert!(text.contains("set-up 10.0 ms, kernel 60.0 ms, agent 30.0 ms (within the bar)"), "{text}");
        let text = boot("a host", &[vmm(140, 100), qemu(200)]);
        assert!(text.contains("vmm takes 0.70 of microvm's time at the median (within the bar)"), "{text}");
        assert!(text.contains("until ready: 100 (within the bar)"), "{text}");
        assert!(text.contains("agent 70.0 ms (MISSES THE BAR)"), "{text}");
        assert!(text.contains("2.0 MiB (within the bar)"), "{text}");
    }

    #[test]
    fn a_build_is_held_against_make_alone() {
        let sample = |what, millis| (what, Duration::from_millis(millis));
        let rounds = |vmm, unchanged| {
            build(
                "6",
                &[sample(What::Vmm, vmm), sample(What::Make, 1000), sample(What::Unchanged, unchanged)],
            )
        };
        assert!(rounds(1100, 499).contains("vmm takes 1.10 of make's time at the median (within the bar)"));
        assert!(
            rounds(1100, 499).contains("nothing changed: 499 ms (within the bar)"),
            "{}",
            rounds(1100, 499)
        );
        let missed = rounds(1200, 500);
        assert_eq!(missed.matches("MISSES THE BAR").count(), 2, "{missed}");
    }

    #[test]
    fn what_failed_is_said() {
        let failed = Sample::Failed { who: "QEMU".into(), why: "no firmware".into() };
        let text = boot("a host", &[failed]);
        assert!(text.contains("a run of QEMU failed: no firmware"), "{text}");
        assert!(text.contains("no run of vmm got there"), "{text}");
        assert!(boot("a host", &[vmm(1, 1)]).contains("not measured"));
    }
}
