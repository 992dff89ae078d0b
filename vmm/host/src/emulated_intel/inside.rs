//! Inside: the plan is a file, and what happens goes to the second serial port.

use super::IntelError;
use crate::emulated::FromHost;
use nix::{
    libc,
    sys::termios::{ControlFlags, SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr},
};
use plan::Plan;
use protocol::Frames;
use std::{
    fs::{self, File},
    io::{self, Write},
    thread,
    time::Duration,
};

/// The plan, in the host; it is there in no other one.
pub(crate) const ORDER: &str = "/order";

/// Where the guest's files are in the host.
const KERNEL: &str = "/guest/kernel";
const INITRAMFS: &str = "/guest/initramfs";
const LUGGAGE: &str = "/guest/luggage";

const PORT: &str = "/dev/ttyS1";

/// What a host needs for a plan: where, mode, content.
pub(super) fn files(plan: &Plan) -> Result<Vec<(String, u32, Vec<u8>)>, IntelError> {
    let mut inside = plan.clone();
    let mut files = Vec::new();
    // Such a host carries out one plan: there is no saved machine in it, and nobody to make one for.
    inside.warm = None;
    let machine = &mut inside.machine;
    let places =
        [(&mut machine.kernel, KERNEL), (&mut machine.initramfs, INITRAMFS), (&mut inside.luggage, LUGGAGE)];
    for (path, place) in places {
        let bytes = fs::read(&path).map_err(IntelError::io("read", path))?;
        files.push((place.to_owned(), 0o444, bytes));
        *path = place.into();
    }
    let order = protocol::encode(&inside).map_err(|error| IntelError::Talk(error.to_string()))?;
    files.push((ORDER.to_owned(), 0o444, order));
    Ok(files)
}

/// Carries the plan out. The host is then ended from outside.
///
/// # Errors
/// The plan or the port can't be read.
pub(crate) fn run() -> io::Result<()> {
    let mut port = File::options().read(true).write(true).open(PORT)?;
    let mut wire = tcgetattr(&port)?;
    cfmakeraw(&mut wire);
    // As termios(3) has it; what sets it there has a name by version, which a static program can't link.
    wire.control_flags.remove(ControlFlags::CBAUD);
    wire.control_flags |= ControlFlags::from_bits_retain(libc::B115200);
    tcsetattr(&port, SetArg::TCSANOW, &wire)?;
    let mut frames = Frames::new();
    frames.push(&fs::read(ORDER)?);
    let plan: Plan = frames.next().ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
    let mut say = |message: &FromHost| {
        let frame = protocol::encode(message).map_err(io::Error::other)?;
        port.write_all(&frame)
    };
    let mut told = Ok(());
    let ended = engine::execute(&plan, &|| false, &mut |event| {
        if told.is_ok() {
            told = say(&FromHost::Event(Box::new(event)));
        }
    });
    told?;
    say(&ended.map_or_else(|error| FromHost::Failed(error.to_string()), |()| FromHost::Finished))?;
    tcdrain(&port)?;
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
