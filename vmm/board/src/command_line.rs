//! The kernel's command line; each word with its reason.

use crate::{
    slots,
    wire::{Announce, Spec},
};

/// The log is read from memory, so nothing of it is printed, not even emergencies: that would cost exits. It would also hang a
/// guest whose allocator reports damage: it does so under the lock of a cache, and hvc's driver takes memory of that
/// cache for what it prints (`put_chars` of drivers/char/virtio_console.c).
const SILENT: &str = "loglevel=0";

const WORDS: &[&str] = &[
    // What the agent and programs print comes out at virtio-console's first port.
    "console=hvc0",
    SILENT,
    // A dead kernel resets at once: nobody waits for a time-out.
    "panic=-1",
    // Reset by the keyboard controller: an exit that says what it is, unlike a triple fault.
    "reboot=k",
    // The serial port is probed with dozens of exits; early output works without the driver.
    "8250.nr_uarts=0",
    // Under KVM the time stamp counter is what the host says it is.
    "tsc=reliable",
    "no_timer_check",
    // On one processor the kernel would take each of its lock prefixes away, some thousand of them one by one: an eighth of
    // its boot on an emulated host. They do no harm there.
    "noreplace-smp",
    // Random numbers need not wait for events.
    "random.trust_cpu=on",
    // Whoever waits for all readers (each rmmod does) waits microseconds rather than ticks of the timer; what is freed too
    // early is then used too late the sooner.
    "rcupdate.rcu_expedited=1",
    // A test guest has no secrets, and its entry code is shorter without.
    "mitigations=off",
    // Addresses stay as linked, so that symbols need no search.
    "nokaslr",
];

/// What any machine's line has, our own devices apart.
pub fn words() -> &'static [&'static str] {
    WORDS
}

/// Room for so many lines that the log can be read before the kernel overwrites them: 32768 of them, 32 bytes each on
/// average, and 3.6 MiB beside for what the kernel keeps of each.
const LONG_LOG: &str = "log_buf_len=1M";
/// A guest that has less memory than this, in MiB, needs it for other things.
const ROOM_FOR_LOG: u32 = 64;

/// In place of [`SILENT`] where the log can't be found in memory, and the serial port has to carry it.
const SERIAL_LOG: &[&str] = &[
    // It needs no driver, and goes on when the console works.
    "earlyprintk=serial,ttyS0,115200,keep",
    // What is in the log is printed, however unimportant.
    "ignore_loglevel",
    // With the level before each line (since Linux 4.16), and the time.
    "console_msg_format=syslog",
    "printk.time=1",
];

/// Whether the kernel has its log printed to the serial port: without symbols it is not found in memory.
pub fn logs_to_serial(spec: &Spec) -> bool {
    !(["prb", "init_top_pgt"].iter().all(|name| spec.landmarks.symbol(name).is_some()))
}

/// The whole line for a machine.
pub fn build(spec: &Spec) -> String {
    let serial = logs_to_serial(spec);
    let own = WORDS.iter().filter(|word| !(serial && **word == SILENT));
    let mut words: Vec<String> = own.map(|word| word.to_string()).collect();
    if spec.announce == Announce::CommandLine {
        words.extend(slots::words());
    }
    if serial {
        words.extend(SERIAL_LOG.iter().map(|word| word.to_string()));
    }
    if spec.memory_mib >= ROOM_FOR_LOG && !serial {
        words.push(LONG_LOG.to_owned());
    }
    words.extend(spec.command_line.iter().cloned());
    words.join(" ")
}
