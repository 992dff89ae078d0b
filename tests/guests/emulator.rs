//! The emulator itself, as somebody would use it who got out of a guest and out of its host.

use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Whether an emulator writes memory to a file that its monitor is told, in its own folder where that is no whole path.
pub(super) fn writes(emulator: u32, file: &str) -> bool {
    let words = fs::read(format!("/proc/{emulator}/cmdline")).unwrap();
    let words = String::from_utf8_lossy(&words).into_owned();
    let at = words
        .split('\0')
        .find_map(|word| word.strip_prefix("unix:")?.strip_suffix("/monitor,server=on,wait=off"));
    let folder = Path::new(at.expect("it has a monitor"));
    let mut socket = UnixStream::connect(folder.join("monitor")).unwrap();
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
