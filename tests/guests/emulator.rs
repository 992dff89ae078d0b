//! The emulator itself, as somebody would use it who got out of a guest and out of its host.

use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// The socket of an emulator's monitor, once it listens there.
pub(super) fn monitor(emulator: u32) -> (UnixStream, PathBuf) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        // It is started by others, which become it.
        let words = fs::read(format!("/proc/{emulator}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        let mut words = words.split('\0');
        let at =
            words.find_map(|word| word.strip_prefix("unix:")?.strip_suffix("/monitor,server=on,wait=off"));
        let folder = at.map(PathBuf::from);
        let socket = folder.as_ref().map(|folder| UnixStream::connect(folder.join("monitor")));
        match (socket, folder) {
            (Some(Ok(socket)), Some(folder)) => return (socket, folder),
            (other, _) => assert!(Instant::now() < until, "{emulator} has no monitor: {other:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether an emulator writes memory to a file that its monitor is told, in its own folder where that is no whole path.
pub(super) fn writes(emulator: u32, file: &str) -> bool {
    let (mut socket, folder) = monitor(emulator);
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let mut ask = |order: Value| {
        writeln!(socket, "{order}").unwrap();
        // Events come between.
        lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|answer| answer["event"].is_null())
            .unwrap()
    };
    ask(json!({"execute": "qmp_capabilities"}));
    let arguments = json!({"val": 0, "size": 16, "filename": folder.join(file)});
    let answer = ask(json!({"execute": "pmemsave", "arguments": arguments}));
    assert!(answer["error"].is_null() || answer.to_string().contains("denied"), "{answer}");
    answer["error"].is_null()
}
