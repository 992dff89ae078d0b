//! As much of QEMU's machine protocol as it takes to save a running machine to a file, and to keep one awake.
//!
//! One JSON object a line in both directions; see "QEMU Machine Protocol Specification" and its commands
//! migrate-set-parameters, migrate, query-migrate, cont and input-send-event in QEMU's documentation.

use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Saving takes a second at the most; a full or slow disk may take it longer.
const SAVING: Duration = Duration::from_secs(20);

/// Saves the machine to a file, and lets it run on.
///
/// # Errors
/// It could not be saved; the file may hold a part.
pub(super) fn save(socket: &Path, file: &Path) -> io::Result<()> {
    let saved = Monitor::connect(socket).and_then(|mut monitor| migrate(&mut monitor, file));
    // A machine that has moved away stands still. By a monitor of its own: the other one may be in the middle of an answer.
    let goes_on = || Monitor::connect(socket)?.command("cont", json!({}));
    goes_on().or_else(|_| goes_on())?;
    saved
}

fn migrate(monitor: &mut Monitor, file: &Path) -> io::Result<()> {
    // It is limited for the sake of networks; this is bytes per second.
    monitor.command("migrate-set-parameters", json!({ "max-bandwidth": 1u64 << 40 }))?;
    monitor.command("migrate", json!({ "uri": format!("file:{}", file.display()) }))?;
    let deadline = Instant::now() + SAVING;
    loop {
        let answer = monitor.command("query-migrate", json!({}))?;
        match answer["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => return Err(io::Error::other(answer.to_string())),
            _ if Instant::now() > deadline => {
                monitor.command("migrate_cancel", json!({}))?;
                return Err(ErrorKind::TimedOut.into());
            }
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// An interrupt that was lost is made good for after so long at the most.
const PULSE: Duration = Duration::from_millis(200);

/// Sends the machine an interrupt now and then, until this is dropped.
///
/// QEMU 10.0's TCG loses one now and then while this machine runs virtual machines. If that was the timer of a machine that
/// sleeps, it sleeps for ever: seen once with a halted processor, interrupts on, and the timer's vector requested in its
/// local APIC. Whatever interrupt comes next wakes it. So a key is let go that nobody holds.
///
/// Why is a guess: that the code for `vmrun` changes the processor's pending interrupts without the lock that the timers'
/// thread holds when it adds one.
pub(super) struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// By a monitor of its own.
    pub(super) fn start(socket: &Path) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (asked, socket) = (Arc::clone(&stop), socket.to_owned());
        let thread = thread::spawn(move || {
            let mut monitor = None;
            while !asked.load(Ordering::Relaxed) {
                thread::park_timeout(PULSE);
                // It listens a moment after it was started, and no more at its end.
                if monitor.is_none() {
                    monitor = Monitor::connect(&socket).ok();
                }
                if monitor.as_mut().is_some_and(|monitor| monitor.let_go().is_err()) {
                    monitor = None;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It panics nowhere, and has nothing to say.
            let _ = thread.join();
        }
    }
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

    /// The shift key, which is not held: the keyboard's interrupt is all that comes of it.
    fn let_go(&mut self) -> io::Result<()> {
        let key = json!({ "type": "qcode", "data": "shift" });
        let event = json!({ "type": "key", "data": { "down": false, "key": key } });
        self.command("input-send-event", json!({ "events": [event] })).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// QEMU as far as a pulse sees it: counts what it is asked for, until the other side is gone.
    fn serve(listener: &UnixListener) -> usize {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        reader.get_mut().write_all(b"{\"QMP\": {}}\n").unwrap();
        let mut pulses = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 {
            pulses += usize::from(line.contains("input-send-event"));
            reader.get_mut().write_all(b"{\"event\": \"X\"}\n{\"return\": {}}\n").unwrap();
            line.clear();
        }
        pulses
    }

    // A machine that is not told of its timer sleeps until something else comes.
    #[test]
    fn a_machine_gets_an_interrupt_again_and_again_until_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("pulse");
        let pulse = Pulse::start(&socket);
        // QEMU takes a moment until it listens.
        thread::sleep(PULSE / 2);
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || serve(&listener));
        thread::sleep(PULSE * 8);
        drop(pulse);
        assert!(server.join().unwrap() >= 3);
    }
}
