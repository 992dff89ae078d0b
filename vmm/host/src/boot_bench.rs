//! From the start of a process to the hello of the guest's agent: this program, and QEMU's microvm.
//!
//! Both boot the same kernel and the same initramfs with the same memory and the same command line, but for
//! the words that name the machine's own devices.

use board::{command_line, wire::Spec};
use engine::event::{Event, RunEnd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plan::{Plan, Watch};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A guest that says nothing for so long is counted as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BootBench {
    /// The guest.
    pub machine: Spec,
    /// So many runs of each contender, in turns.
    pub runs: u32,
    /// The other one, if there is one here.
    pub qemu: Option<Qemu>,
}

/// QEMU, as it is started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// Its firmware, where that is not in its usual place.
    pub firmware: Option<PathBuf>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sample {
    /// Of this program.
    Vmm {
        /// Until the agent's hello.
        ready: Duration,
        /// Of this, until the guest's first instruction.
        setup: Duration,
        /// From there until the kernel started `/init`, by the guest's own clock; unknown where the log could
        /// not be read. The clock of the log begins late and falls behind, but the kernel says by how much against kvm-clock,
        /// which began with the VM.
        kernel: Option<Duration>,
        /// Exits to user space until ready.
        exits: u64,
        /// Of the machine process without guest memory, in KiB.
        own_memory_kib: u64,
    },
    /// Of QEMU, until the agent's hello.
    Qemu {
        /// Until the first byte of the hello.
        ready: Duration,
    },
    /// It did not get there.
    Failed {
        /// Which of the two.
        who: String,
        /// What happened.
        why: String,
    },
}

/// Measures on this machine's KVM; `sink` gets each sample as it is taken.
pub fn measure(bench: &BootBench, stop: &dyn Fn() -> bool, sink: &mut dyn FnMut(Sample)) {
    for _ in 0..bench.runs {
        if stop() {
            return;
        }
        sink(vmm(&bench.machine, stop).unwrap_or_else(|why| Sample::Failed { who: "vmm".to_owned(), why }));
        if let Some(program) = &bench.qemu {
            let sample = qemu(program, &bench.machine).map(|ready| Sample::Qemu { ready });
            let failed = |error: io::Error| Sample::Failed { who: "QEMU".into(), why: error.to_string() };
            sink(sample.unwrap_or_else(failed));
        }
    }
}

fn vmm(machine: &Spec, stop: &dyn Fn() -> bool) -> Result<Sample, String> {
    let plan = Plan {
        machine: machine.clone(),
        luggage: PathBuf::new(),
        programs: Default::default(),
        warm: None,
        boot_timeout: PATIENCE,
        steps: Vec::new(),
        watch: Watch::Nothing,
    };
    let (mut booted, mut ended, mut kernel, mut before_log) = (None, None, None, Duration::ZERO);
    engine::execute(&plan, stop, &mut |event| match event {
        Event::Booted(event) => booted = Some(event),
        Event::Ended(event) => ended = Some(event),
        // run_init_process() in init/main.c
        Event::Log(record) if record.text.starts_with("Run /init as init") => {
            kernel = Some(before_log + record.time);
        }
        Event::Log(record) => {
            before_log += log_began(&record.text).or_else(|| log_lost(&record.text)).unwrap_or_default();
        }
        _ => {}
    })
    .map_err(|error| error.to_string())?;
    match (booted, ended) {
        (Some(booted), Some(ended)) if ended.why == RunEnd::Completed => Ok(Sample::Vmm {
            ready: booted.ready,
            setup: booted.setup,
            kernel,
            exits: ended.evidence.exits_until_ready.values().sum(),
            own_memory_kib: ended.evidence.own_memory_kib,
        }),
        (_, Some(ended)) => Err(format!("{:?}", ended.why)),
        (_, None) => Err("the run has no end".to_owned()),
    }
}

/// From the VM's beginning to that of the log's clock, if this line says it: kvm_sched_clock_init() in
/// arch/x86/kernel/kvmclock.c, where the "cycles" are those of kvm-clock, nanoseconds.
fn log_began(line: &str) -> Option<Duration> {
    let nanos = line.strip_prefix("kvm-clock: using sched offset of ")?.strip_suffix(" cycles")?;
    nanos.parse().ok().map(Duration::from_nanos)
}

/// What the log's clock has lost while it went by the timer's ticks, if this line says it: __sched_clock_offset in
/// kernel/sched/clock.c, the last of four numbers, which takes it away.
fn log_lost(line: &str) -> Option<Duration> {
    let (_, offset) =
        line.strip_prefix("sched_clock: Marking stable (")?.strip_suffix(')')?.rsplit_once(", -")?;
    offset.parse().ok().map(Duration::from_nanos)
}

fn qemu(qemu: &Qemu, machine: &Spec) -> io::Result<Duration> {
    let mut command = Command::new(&qemu.program);
    if let Some(firmware) = &qemu.firmware {
        command.arg("-L").arg(firmware);
    }
    command
        // As docs/system/i386/microvm.rst of QEMU recommends for the quickest start. PIC and PIT stay: a kernel
        // without ACPI finds no other interrupt controller in this machine.
        .args(["-M", "microvm,x-option-roms=off,isa-serial=off,rtc=off,acpi=off"])
        .args(["-enable-kvm", "-cpu", "host", "-smp", &machine.vcpus.to_string()])
        .args(["-m", &machine.memory_mib.to_string(), "-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-chardev", "null,id=console", "-chardev", "stdio,id=control,signal=off"])
        .args(["-device", "virtio-serial-device", "-device", "virtconsole,chardev=console"])
        .args(["-device", "virtserialport,chardev=control,name=vmm.control"])
        .arg("-kernel")
        .arg(&machine.kernel)
        .arg("-initrd")
        .arg(&machine.initramfs)
        .args(["-append", &command_line::words().join(" ")])
        // Kept open: at its end QEMU would tell the guest that nobody listens.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let mut stdout = child.stdout.take().expect("it was asked for");
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).expect("a minute fits");
    let heard = poll(&mut fds, patience);
    let mut byte = [0];
    let result = match heard {
        Ok(0) => Err(io::Error::other(format!("no hello within {} s", PATIENCE.as_secs()))),
        Ok(_) => match stdout.read(&mut byte) {
            Ok(1) => Ok(start.elapsed()),
            Ok(_) => Err(io::Error::other("it ended before the agent's hello")),
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    };
    // Both fail only where the process has been reaped before.
    let _ = child.kill();
    let _ = child.wait();
    result.map_err(|error| {
        let mut said = String::new();
        let _ = child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
        io::Error::other(format!("{error}; it said: {}", said.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_s_beginning_is_read_from_the_kernel_s_own_words() {
        let began = log_began("kvm-clock: using sched offset of 304869125 cycles");
        assert_eq!(began, Some(Duration::from_nanos(304_869_125)));
        assert_eq!(log_began("kvm-clock: Using msrs 4b564d01 and 4b564d00"), None);
        assert_eq!(log_began("kvm-clock: using sched offset of -1 cycles"), None);
        let stable = "sched_clock: Marking stable (680417433, 125021726)->(1273003809, -467564650)";
        assert_eq!(log_lost(stable), Some(Duration::from_nanos(467_564_650)));
        assert_eq!(log_lost("sched_clock: Marking stable (1, 2)->(3, 4)"), None);
    }
}
