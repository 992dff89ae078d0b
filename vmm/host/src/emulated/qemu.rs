//! The QEMU process of an emulated host.

use super::{EmulatedError, PORT_PREFIX, SLOTS, initrd::Initrd, qmp::Pulse};
use jail::Sandbox;
use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A running QEMU. Dropping it kills and reaps it, unless it hangs ([`jail::end`]).
pub(super) struct Qemu {
    child: Child,
    /// Keeps it awake.
    _pulse: Pulse,
    monitor: PathBuf,
    console: PathBuf,
    errors: PathBuf,
}

/// The host kernel's command line, and why each token is there.
pub(super) const COMMAND_LINE: &[&str] = &[
    // Silent unless something goes wrong: the file is what we show then.
    "console=ttyS0",
    "quiet",
    // With -no-reboot this ends QEMU.
    "panic=-1",
    // Emulated processors do not speculate.
    "mitigations=off",
    // TCG's time stamp counter is one. Its rate is measured outside (`tsc_early_khz`): on a busy machine the kernel itself
    // was seen to be wrong by a factor of eighteen, and calibrating takes it 100 ms or more.
    "tsc=reliable",
    "no_timer_check",
    // To make a virtual machine the kernel waits for grace periods, with nothing else to do meanwhile.
    "rcupdate.rcu_expedited=1",
    // Nothing but ours is to be run.
    "rdinit=/init",
];

/// How a host comes to be.
pub(super) enum Start<'a> {
    /// From its kernel, which is told the rate of the time stamp counter, in kHz.
    Boot(&'a Initrd, u64),
    /// From where it was saved.
    Continue(&'a Path),
}

impl Qemu {
    /// Starts a host whose ports are the sockets `slot.N` in the first of `folders`; nowhere else but in these it makes files.
    pub(super) fn start(
        files: &Path,
        folders: &[PathBuf],
        memory_mib: u32,
        start: &Start,
    ) -> Result<Self, EmulatedError> {
        super::check(files)?;
        let (program, folder) = (files.join("qemu-system-x86_64"), folders[0].as_path());
        let (console, errors) = (folder.join("console"), folder.join("errors"));
        let stderr = File::create(&errors).map_err(EmulatedError::io("write", &errors))?;
        let (monitor, pulse) = (folder.join("monitor"), folder.join("pulse"));
        let mut command = tied_to_us(&program, files, folders.to_vec());
        command
            .args(Self::shape(memory_mib))
            // It starts no program and changes no right of its own from now on: a guest that breaks out finds that little.
            .args(["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"])
            .args(["-chardev", &format!("file,id=console,path={}", console.display())])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", monitor.display())])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", pulse.display())]);
        for slot in 0..SLOTS {
            let socket = socket(folder, slot);
            let chardev = format!("socket,id=slot{slot},path={},server=on,wait=off", socket.display());
            command.args(["-chardev", &chardev]);
        }
        match start {
            Start::Boot(initrd, rate) => {
                command.arg("-kernel").arg(files.join("vmlinuz")).arg("-initrd").arg(&initrd.path);
                command.args(["-append", &format!("{} tsc_early_khz={rate}", COMMAND_LINE.join(" "))]);
            }
            Start::Continue(saved) => {
                command.arg("-incoming").arg(format!("file:{}", saved.display()));
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().map_err(EmulatedError::io("start", &program))?;
        Ok(Self { child, _pulse: Pulse::start(&pulse), monitor, console, errors })
    }

    /// The emulated machine: all that has to be the same when a saved host is continued.
    pub(super) fn shape(memory_mib: u32) -> Vec<String> {
        let mut shape = vec![
            "-nodefaults -no-user-config -no-reboot -display none -nic none".to_owned(),
            "-machine pc,usb=off,vmport=off,smbus=off,hpet=off -accel tcg".to_owned(),
            // SVM with nested paging is what KVM in this host needs. Larger CPU models end in inconsistent
            // XSAVE leaves. SMEP and SMAP every processor has that people use: a driver that touches user memory
            // without copy_from_user() has to fail here as it does there. With two processors and a thread for each, QEMU 10.0 loses track of the nested page
            // tables now and then: one guest in ten ends in a triple fault, on one processor none does.
            format!("-cpu qemu64,+svm,+npt,+smep,+smap -smp 1 -m {memory_mib}"),
            "-serial chardev:console -device virtio-serial-pci".to_owned(),
        ];
        for slot in 0..SLOTS {
            shape.push(format!("-device virtserialport,chardev=slot{slot},name={PORT_PREFIX}{slot}"));
        }
        shape.iter().flat_map(|part| part.split(' ')).map(str::to_owned).collect()
    }

    /// The socket of its monitor.
    pub(super) fn monitor(&self) -> PathBuf {
        self.monitor.clone()
    }

    /// Ends it now.
    pub(super) fn end(&mut self) {
        jail::end(&mut self.child);
    }

    /// An error that says what the host said, if it runs no more.
    pub(super) fn check(&mut self) -> Result<(), EmulatedError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(EmulatedError::Died { status, tail: self.tail() }),
            Err(error) => Err(EmulatedError::io("wait for", Path::new("QEMU"))(error)),
        }
    }

    /// The last that QEMU and the host's console said.
    pub(super) fn tail(&self) -> String {
        tail(&[&self.errors, &self.console])
    }
}

/// The last lines of these files.
pub(crate) fn tail(files: &[&Path]) -> String {
    let last = |path: &&Path| {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(3000)..]).replace('\r', "");
        let text: String = text.chars().filter(|&c| c == '\n' || !c.is_control()).collect();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(15)..].join("\n  ")
    };
    let said: Vec<_> = files.iter().map(last).filter(|text| !text.is_empty()).collect();
    if said.is_empty() { "(nothing)".to_owned() } else { said.join("\n  ") }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.end();
    }
}

/// The socket of a slot.
pub(super) fn socket(folder: &Path, slot: usize) -> PathBuf {
    folder.join(format!("slot.{slot}"))
}

/// A command that dies with the thread that starts it, even when that is killed, and that Ctrl-C at the
/// terminal does not reach: we end it ourselves once everything is in order. `setpriv` is part of
/// util-linux; a system without it runs the command untied.
///
/// It reads the machine's programs and `files`, writes to `folders`, reaches no network, and has no rights of a superuser
/// though that be who starts it: a guest may get hold of it. Only a kernel without Landlock, or a program that is not `vmm`, has no such walls.
pub(crate) fn tied_to_us(program: &Path, files: &Path, folders: Vec<PathBuf>) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_setpriv = std::env::split_paths(&path).any(|folder| folder.join("setpriv").exists());
    let tied = if has_setpriv { &["setpriv", "--pdeathsig", "KILL", "--"][..] } else { &[] };
    let walls = Sandbox::rules_of_emulator(vec![files.to_owned()], folders).emulators_prefix();
    let mut words =
        tied.iter().map(OsString::from).chain(walls.into_iter().flatten()).chain([program.into()]);
    let mut command = Command::new(words.next().expect("there is the program"));
    command.args(words);
    // Nothing of the environment is its business; a script that starts it needs its tools.
    command.env_clear().env("PATH", path).process_group(0);
    command
}
