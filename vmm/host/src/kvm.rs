//! This machine's own KVM: whether it runs kernels, or only looks as if it did.
//!
//! Opening `/dev/kvm` and asking for capabilities proves little: some implementations interpret every
//! instruction of ring 0, or lack int3. So a tiny guest is run, in a process of its own because nothing is
//! known yet about what a call to this KVM does.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    process::{ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const DEVICE: &str = "/dev/kvm";

/// A KVM that runs ring 0 on the processor takes about a nanosecond for an instruction, one under
/// emulation some ten; one that interprets takes hundreds. A kernel boots in tens of millions.
const SLOWEST: f64 = 100.0;

/// The probe takes some milliseconds.
const PROBE: Duration = Duration::from_secs(5);

/// What the tiny guest showed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Time that an instruction takes in ring 0, in nanoseconds.
    pub ring0_ns: f64,
    /// A breakpoint instruction in the guest reaches the guest's own handler.
    pub int3: bool,
    /// A hardware breakpoint that the VMM sets stops the guest.
    pub hw_breakpoint: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// It is as it should be.
    pub good: bool,
    /// How it is.
    pub found: String,
    /// What to do about it; nothing where nothing can be done.
    pub fix: Option<String>,
}

/// All that was looked at, in this order. What can't be looked at because of an earlier failure is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination(pub Vec<Check>);

impl Examination {
    /// Everything is as it should be.
    pub fn is_sound(&self) -> bool {
        self.first_failure().is_none()
    }

    /// The first thing that is not.
    pub fn first_failure(&self) -> Option<&Check> {
        self.0.iter().find(|check| !check.good)
    }

    /// The first thing that keeps guests from running as they should: one that is merely slow runs them.
    pub fn first_fault(&self) -> Option<&Check> {
        self.0.iter().find(|check| !check.good && check.name != SPEED)
    }

    /// In a few words, for the line that says which host runs a guest and why.
    pub fn summary(&self) -> String {
        let of = |check: &Check| check.found.clone();
        self.first_failure().or(self.0.iter().find(|check| check.name == SPEED)).map(of).unwrap_or_default()
    }
}

const SPEED: &str = "speed of ring 0";

/// What this machine's processor does not find in guests, for the line that says which host runs them; nothing if it finds all.
pub fn finds_less() -> &'static str {
    match lacks_smap(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()) {
        true => {
            "; its processor has no SMAP, so that a driver that uses a user's pointer by itself passes here"
        }
        false => "",
    }
}

/// Whether a processor of these flags lets a kernel touch user memory by mistake (Intel SDM volume 3, section 5.6; AMD64 architecture,
/// volume 2, section 5.6.4: supervisor-mode access prevention).
fn lacks_smap(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| !flags.split_whitespace().any(|flag| flag == "smap"))
}

/// Looks at this machine's KVM. Takes some ten milliseconds, at the most five seconds.
pub fn examine() -> Examination {
    let mut checks = vec![open()];
    if checks[0].good {
        match probe() {
            Ok(findings) => checks.extend(judge(&findings)),
            Err(why) => checks.push(Check {
                name: "a tiny guest",
                good: false,
                found: format!("this /dev/kvm does not run a tiny guest: {why}"),
                fix: Some("use an emulated host: `--host emulated`".to_owned()),
            }),
        }
    }
    Examination(checks)
}

fn open() -> Check {
    let check =
        |good, found: &str, fix: Option<String>| Check { name: DEVICE, good, found: found.to_owned(), fix };
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => check(true, "can be opened", None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            check(false, "there is no /dev/kvm", Some(module_to_load(&flags)))
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let fix = fs::metadata(DEVICE).map(|meta| {
                let group = nix::unistd::Group::from_gid(meta.gid().into()).ok().flatten();
                rights(group.map(|group| group.name).as_deref(), meta.permissions().mode())
            });
            check(false, "you have no right to /dev/kvm", fix.ok())
        }
        Err(error) => check(false, &format!("/dev/kvm can't be opened: {error}"), None),
    }
}

/// What to do where there is no device; `cpuinfo` says what the processor can do.
fn module_to_load(cpuinfo: &str) -> String {
    let has =
        |flag| cpuinfo.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|it| it == flag));
    match (has("vmx"), has("svm")) {
        (true, _) => "load its module: `sudo modprobe kvm_intel`".to_owned(),
        (_, true) => "load its module: `sudo modprobe kvm_amd`".to_owned(),
        _ => "this processor offers no virtualization: switch it on in the firmware, or, if this is \
              a virtual machine, have nested virtualization switched on around it"
            .to_owned(),
    }
}

/// What to do where the device may not be opened.
fn rights(group: Option<&str>, mode: u32) -> String {
    match group {
        Some("root") | None => r#"give it to the group kvm: `echo 'KERNEL=="kvm", GROUP="kvm", MODE="0660"' | sudo tee /etc/udev/rules.d/65-kvm.rules && sudo udevadm control --reload-rules && sudo udevadm trigger --name-match=kvm && sudo udevadm settle`, and join that group: `sudo usermod -aG kvm $USER`, then log in again"#.to_owned(),
        Some(_) if mode & 0o060 != 0o060 => r#"let its group use it: `echo 'KERNEL=="kvm", MODE="0660"' | sudo tee /etc/udev/rules.d/65-kvm.rules && sudo udevadm control --reload-rules && sudo udevadm trigger --name-match=kvm && sudo udevadm settle`"#.to_owned(),
        Some(group) => format!("join its group: `sudo usermod -aG {group} $USER`, then log in again"),
    }
}

/// What findings mean.
fn judge(findings: &Findings) -> [Check; 3] {
    let Findings { ring0_ns, int3, hw_breakpoint } = *findings;
    let fast = ring0_ns <= SLOWEST;
    let time =
        if ring0_ns < 100.0 { format!("{ring0_ns:.1} ns") } else { format!("{:.1} us", ring0_ns / 1000.0) };
    let emulated = |good: bool| (!good).then(|| "use an emulated host: `--host emulated`".to_owned());
    [
        Check {
            name: SPEED,
            good: fast,
            found: if fast {
                format!("{time} per instruction in ring 0")
            } else {
                format!("this /dev/kvm interprets ring 0: {time} per instruction")
            },
            fix: emulated(fast),
        },
        Check {
            name: "int3",
            good: int3,
            found: if int3 { "reaches the guest" } else { "this /dev/kvm loses int3 in the guest" }
                .to_owned(),
            fix: emulated(int3),
        },
        Check {
            name: "hardware breakpoints",
            good: hw_breakpoint,
            found: if hw_breakpoint { "stop the guest" } else { "this /dev/kvm has no hardware breakpoints" }
                .to_owned(),
            fix: emulated(hw_breakpoint),
        },
    ]
}

/// Has this very program run the tiny guest: `vmm probe` prints [`Findings`], or why there are none.
fn probe() -> Result<Findings, String> {
    let mut child = Command::new("/proc/self/exe")
        .arg("probe")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let said = child.stdout.take().map_or(Ok(None), |out| line(out, Instant::now() + PROBE));
    // To take a virtual machine apart takes the kernel longer than all that it did. Nobody has to wait for that.
    thread::spawn(move || {
        let _ = child.kill();
        let _ = child.wait();
    });
    let said = said.map_err(|error| error.to_string())?;
    let said = said.ok_or_else(|| format!("it says nothing within {} s", PROBE.as_secs()))?;
    match serde_json::from_str::<Result<Findings, String>>(&said) {
        Ok(result) => result,
        Err(_) => Err("the probe ended without a word".to_owned()),
    }
}

/// What comes until the first newline, or the end; `None` at the deadline.
fn line(mut from: ChildStdout, deadline: Instant) -> io::Result<Option<String>> {
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut piece = [0; 512];
        let length = from.read(&mut piece)?;
        said.extend_from_slice(&piece[..length]);
        if length == 0 || piece[..length].contains(&b'\n') {
            return Ok(Some(String::from_utf8_lossy(&said).into_owned()));
        }
    }
}

/// The child's side of the probe: writes what it found.
///
/// # Errors
/// Nobody reads it.
pub fn report_probe(found: &Result<Findings, String>) -> io::Result<()> {
    let said = serde_json::to_string(found)?;
    writeln!(io::stdout(), "{said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_smap_is_told() {
        assert!(lacks_smap("processor : 0\nflags\t\t: fpu smep nosmap\n"));
        assert!(!lacks_smap("flags\t\t: fpu smep smap sse\n"));
        assert!(!lacks_smap("nothing is known\n"));
    }

    const SOUND: Findings = Findings { ring0_ns: 0.4, int3: true, hw_breakpoint: true };

    #[test]
    fn what_is_merely_slow_runs_guests() {
        let examined = |findings: Findings| Examination(judge(&findings).into());
        let slow = examined(Findings { ring0_ns: 800.0, ..SOUND });
        assert!(!slow.is_sound() && slow.first_fault().is_none());
        let lossy = examined(Findings { ring0_ns: 800.0, int3: false, ..SOUND });
        assert_eq!(lossy.first_fault().map(|check| check.name), Some("int3"));
    }

    #[test]
    fn each_finding_alone_makes_a_kvm_unsound() {
        assert!(Examination(judge(&SOUND).into()).is_sound());
        let cases = [
            (
                Findings { ring0_ns: 812.0, ..SOUND },
                "this /dev/kvm interprets ring 0: 0.8 us per instruction",
            ),
            (
                Findings { ring0_ns: 1600.0, ..SOUND },
                "this /dev/kvm interprets ring 0: 1.6 us per instruction",
            ),
            (Findings { int3: false, ..SOUND }, "this /dev/kvm loses int3 in the guest"),
            (Findings { hw_breakpoint: false, ..SOUND }, "this /dev/kvm has no hardware breakpoints"),
        ];
        for (findings, expected) in cases {
            let examination = Examination(judge(&findings).into());
            assert!(!examination.is_sound());
            assert_eq!(examination.summary(), expected);
            assert!(examination.first_failure().unwrap().fix.is_some());
        }
        assert_eq!(Examination(judge(&SOUND).into()).summary(), "0.4 ns per instruction in ring 0");
    }

    #[test]
    fn a_time_that_is_no_number_is_not_sound() {
        assert!(!judge(&Findings { ring0_ns: f64::NAN, ..SOUND })[0].good);
    }

    #[test]
    fn the_fix_fits_the_processor_and_the_rights() {
        assert!(module_to_load("flags\t\t: fpu svm npt").contains("kvm_amd"));
        assert!(module_to_load("flags\t\t: fpu vmx").contains("kvm_intel"));
        // "svm_lock" is another flag.
        assert!(module_to_load("flags\t\t: fpu svm_lock").contains("firmware"));
        assert!(rights(Some("kvm"), 0o660).contains("usermod -aG kvm"));
        assert!(rights(Some("kvm"), 0o600).contains("MODE="));
        assert!(rights(Some("root"), 0o600).contains("GROUP="));
    }
}
