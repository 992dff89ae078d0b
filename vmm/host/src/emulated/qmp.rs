//! As much of QEMU's machine protocol as it takes to save a running machine to a file.
//!
//! One JSON object a line in both directions; see "QEMU Machine Protocol Specification" and its commands
//! migrate-set-parameters, migrate, query-migrate and cont in QEMU's documentation.

use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Saving takes a second at the most; a full or slow disk may take it longer.
const SAVING: Duration = Duration::from_secs(20);

/// Saves the machine to a file, and lets it run on.
///
/// # Errors
/// It could not be saved; the file may hold a part.
pub(super) fn save(socket: &Path, file: &Path) -> io::Result<()> {
    let mut monitor = Monitor::connect(socket)?;
    // It is limited for the sake of networks; this is bytes per second.
    monitor.command("migrate-set-parameters", json!({ "max-bandwidth": 1u64 << 40 }))?;
    monitor.command("migrate", json!({ "uri": format!("file:{}", file.display()) }))?;
    let deadline = Instant::now() + SAVING;
    let saved = loop {
        let answer = monitor.command("query-migrate", json!({}))?;
        match answer["status"].as_str() {
            Some("completed") => break Ok(()),
            Some("failed" | "cancelled") => break Err(io::Error::other(answer.to_string())),
            _ if Instant::now() > deadline => {
                monitor.command("migrate_cancel", json!({}))?;
                break Err(ErrorKind::TimedOut.into());
            }
            _ => thread::sleep(Duration::from_millis(5)),
        }
    };
    // A machine that has moved away stands still.
    monitor.command("cont", json!({}))?;
    saved
}

struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut monitor = Self { reader: BufReader::new(stream) };
        monitor.line()?; // the greeting
        monitor.command("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn command(&mut self, name: &str, arguments: Value) -> io::Result<Value> {
        let line = format!("{}\n", json!({ "execute": name, "arguments": arguments }));
        self.reader.get_mut().write_all(line.as_bytes())?;
        // Events may come before the answer; hardly ever more than a few.
        for _ in 0..1000 {
            let mut answer: Value = serde_json::from_str(&self.line()?)?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("{name}: {error}")));
            }
            if let Some(answer) = answer.get_mut("return") {
                return Ok(answer.take());
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}
