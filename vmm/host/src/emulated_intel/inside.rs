//! Inside: the jobs are a file, and what happens goes to the second serial port.

use super::{IntelError, Job, Said};
use crate::{boot_bench, emulated::HostFile};
use engine::Machines;
use nix::{
    libc,
    sys::termios::{ControlFlags, SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr},
};
use protocol::Frames;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The jobs, in the host; they are there in no other one.
pub(crate) const ORDER: &str = "/order";

/// Where the guests' files are in the host.
const FILES: &str = "/guest";

/// And the machines that are saved on the way.
const MACHINES: &str = "/machines";

const PORT: &str = "/dev/ttyS1";

/// Of what a program says so much is passed on, from its end.
const OUTPUT: usize = 4 << 10;

/// Host to client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromHost {
    Said(Box<Said>),
    /// That was the last of this job.
    Finished,
    /// The host itself could not do it.
    Failed(String),
}

/// What a host needs for these jobs.
pub(super) fn files(jobs: &[Job]) -> Result<Vec<HostFile>, IntelError> {
    let mut order = jobs.to_vec();
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut take = |path: &mut PathBuf| -> Result<(), IntelError> {
        let index = match files.iter().position(|(known, _)| known == path) {
            Some(index) => index,
            None => {
                let bytes = fs::read(&path).map_err(IntelError::io("read", path))?;
                files.push((path.clone(), bytes));
                files.len() - 1
            }
        };
        *path = format!("{FILES}/{index}").into();
        Ok(())
    };
    for job in &mut order {
        match job {
            Job::Plan(plan) => {
                plan.machine.forgets = true;
                [&mut plan.machine.kernel, &mut plan.machine.initramfs, &mut plan.luggage]
                    .into_iter()
                    .try_for_each(&mut take)?;
                if let Some(warm) = &mut plan.warm {
                    warm.folder = MACHINES.into();
                }
            }
            Job::Boot(bench) => {
                [&mut bench.machine.kernel, &mut bench.machine.initramfs]
                    .into_iter()
                    .try_for_each(&mut take)?;
            }
            Job::Program { .. } => {}
        }
    }
    let order = protocol::encode(&order).map_err(|error| IntelError::Talk(error.to_string()))?;
    let files = files.into_iter().enumerate();
    let mut files: Vec<_> =
        files.map(|(index, (_, bytes))| (format!("{FILES}/{index}"), 0o444, bytes)).collect();
    files.push((ORDER.to_owned(), 0o444, order));
    Ok(files)
}

/// Does the jobs, one after the other. The host is then ended from outside.
///
/// # Errors
/// The jobs or the port can't be read.
pub(crate) fn run() -> io::Result<()> {
    let mut port = File::options().read(true).write(true).open(PORT)?;
    let mut wire = tcgetattr(&port)?;
    cfmakeraw(&mut wire);
    // As termios(3) has it; what sets it there has a name by version, which a static program can't link.
    wire.control_flags.remove(ControlFlags::CBAUD);
    wire.control_flags |= ControlFlags::from_bits_retain(libc::B115200);
    tcsetattr(&port, SetArg::TCSANOW, &wire)?;
    let drain = port.try_clone()?;
    let mut frames = Frames::new();
    frames.push(&fs::read(ORDER)?);
    let jobs: Vec<Job> = frames.next().ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
    fs::create_dir_all(MACHINES)?;
    let mut say = |message: &FromHost| {
        let frame = protocol::encode(message).map_err(io::Error::other)?;
        port.write_all(&frame)
    };
    let mut machines = Machines::default();
    // A byte takes the port some 80,000 instructions. Where there are several jobs they are measured.
    let at_once = jobs.len() == 1;
    for job in &jobs {
        let (mut told, mut later) = (Ok(()), Vec::new());
        let mut tell = |said: Said| {
            let said = FromHost::Said(Box::new(said));
            match at_once {
                true if told.is_ok() => told = say(&said),
                true => {}
                false => later.push(said),
            }
        };
        let ended = match job {
            Job::Plan(plan) => {
                let ended =
                    machines.execute(plan, &|| false, &mut |event| tell(Said::Event(Box::new(event))));
                ended.map_err(|error| error.to_string())
            }
            Job::Boot(bench) => {
                boot_bench::measure(bench, &|| false, &mut |sample| tell(Said::Boot(sample)));
                Ok(())
            }
            Job::Program { arguments, environment } => match program(arguments, environment) {
                Ok(said) => {
                    tell(said);
                    Ok(())
                }
                Err(error) => Err(format!("start a program: {error}")),
            },
        };
        told?;
        later.iter().try_for_each(&mut say)?;
        say(&ended.map_or_else(FromHost::Failed, |()| FromHost::Finished))?;
        tcdrain(&drain)?;
    }
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Runs this very program once more, and waits for its end.
fn program(arguments: &[String], environment: &[(String, String)]) -> io::Result<Said> {
    let output = Path::new("/tmp/output");
    let file = File::create(output)?;
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).env_clear().envs(environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    let output = fs::read(output)?;
    let last = output[output.len().saturating_sub(OUTPUT)..].to_vec();
    Ok(Said::Ended { code: status.code(), took, last })
}
