//! Inside: the plans are a file, and what happens goes to the second serial port.

use super::IntelError;
use crate::emulated::FromHost;
use engine::Machines;
use nix::{
    libc,
    sys::termios::{ControlFlags, SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr},
};
use plan::Plan;
use protocol::Frames;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

/// The plans, in the host; they are there in no other one.
pub(crate) const ORDER: &str = "/order";

/// Where the guests' files are in the host.
const FILES: &str = "/guest";

/// And the machines that are saved on the way.
const MACHINES: &str = "/machines";

const PORT: &str = "/dev/ttyS1";

/// What a host needs for these plans: where, mode, content.
pub(super) fn files(plans: &[Plan]) -> Result<Vec<(String, u32, Vec<u8>)>, IntelError> {
    let mut order = plans.to_vec();
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for plan in &mut order {
        let machine = &mut plan.machine;
        for path in [&mut machine.kernel, &mut machine.initramfs, &mut plan.luggage] {
            let index = match files.iter().position(|(known, _)| known == path) {
                Some(index) => index,
                None => {
                    let bytes = fs::read(&path).map_err(IntelError::io("read", path))?;
                    files.push((path.clone(), bytes));
                    files.len() - 1
                }
            };
            *path = format!("{FILES}/{index}").into();
        }
        if let Some(warm) = &mut plan.warm {
            warm.folder = MACHINES.into();
        }
    }
    let order = protocol::encode(&order).map_err(|error| IntelError::Talk(error.to_string()))?;
    let files = files.into_iter().enumerate();
    let mut files: Vec<_> =
        files.map(|(index, (_, bytes))| (format!("{FILES}/{index}"), 0o444, bytes)).collect();
    files.push((ORDER.to_owned(), 0o444, order));
    Ok(files)
}

/// Carries the plans out, one after the other. The host is then ended from outside.
///
/// # Errors
/// The plans or the port can't be read.
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
    let plans: Vec<Plan> = frames.next().ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
    fs::create_dir_all(MACHINES)?;
    let mut say = |message: &FromHost| {
        let frame = protocol::encode(message).map_err(io::Error::other)?;
        port.write_all(&frame)
    };
    let mut machines = Machines::default();
    // A byte takes the port some 80,000 instructions. Where several plans are carried out they are measured.
    let at_once = plans.len() == 1;
    for plan in &plans {
        let (mut told, mut later) = (Ok(()), Vec::new());
        let ended = machines.execute(plan, &|| false, &mut |event| {
            let event = FromHost::Event(Box::new(event));
            match at_once {
                true if told.is_ok() => told = say(&event),
                true => {}
                false => later.push(event),
            }
        });
        told?;
        later.iter().try_for_each(&mut say)?;
        say(&ended.map_or_else(|error| FromHost::Failed(error.to_string()), |()| FromHost::Finished))?;
        tcdrain(&drain)?;
    }
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
