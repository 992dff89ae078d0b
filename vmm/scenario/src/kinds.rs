//! The kinds of steps. A new one is an entry in [`KINDS`], a reader here, an [`Action`] and its lowering.

use super::argument::{Read, origins};
use super::expect::Results;
use super::model::{Action, Argument, CallName, Data, Node as Special, Num, Origin, Params, Pointer, Span};
use super::node::{Node, Value};
use super::poll;
use super::program::{run, script};
use super::reader::{Fields, Reader};
use super::request;
use super::value::parse_int;
use base::diagnostic::Diagnostic;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use protocol::Door;

/// A kind of step.
pub struct Kind {
    /// The field that makes a step one of this kind; its value is the first parameter of `read`.
    pub name: &'static str,
    /// Its other fields.
    pub fields: &'static [&'static str],
    /// Reads both.
    pub read: fn(&mut Reader<'_>, &Node, &mut Fields<'_>) -> Option<Parts>,
}

/// What the reader of a kind brings.
pub struct Parts {
    /// What to do.
    pub action: Action,
    /// What it brings back.
    pub results: Results,
    /// Its named buffers.
    pub names: Vec<(String, Span, Origin)>,
}

impl Parts {
    /// A step that returns a value or an error.
    pub fn value(action: Action) -> Option<Self> {
        Some(Self { action, results: Results::Value, names: Vec::new() })
    }

    /// A step that also brings data.
    pub fn data(action: Action) -> Option<Self> {
        Some(Self { action, results: Results::Data, names: Vec::new() })
    }
}

/// All kinds of steps.
pub const KINDS: &[Kind] = &[
    Kind { name: "insmod", fields: &["params"], read: insmod },
    Kind { name: "rmmod", fields: &[], read: rmmod },
    Kind { name: "reload", fields: &["params"], read: reload },
    Kind { name: "modprobe", fields: &["params", "remove"], read: modprobe },
    Kind { name: "modinfo", fields: &[], read: modinfo },
    Kind { name: "lsmod", fields: &[], read: lsmod },
    Kind { name: "syscall", fields: &["args", "door"], read: syscall },
    Kind { name: "mknod", fields: &["char", "block", "fifo", "mode"], read: mknod },
    Kind { name: "open", fields: &["flags", "mode"], read: open },
    Kind { name: "read", fields: &["count"], read },
    Kind { name: "write", fields: &["data"], read: write },
    Kind { name: "lseek", fields: &["offset", "from"], read: lseek },
    Kind { name: "ioctl", fields: &["request", "arg"], read: ioctl },
    Kind { name: "close", fields: &[], read: close },
    Kind { name: "poll", fields: &["events", "for"], read: poll::read },
    Kind { name: "run", fields: &["env", "stdin", "user"], read: run },
    Kind { name: "script", fields: &["env", "user"], read: script },
    Kind { name: "file", fields: &["write", "append"], read: file },
    Kind { name: "sleep", fields: &[], read: sleep },
    Kind { name: "mount", fields: &["type", "source", "flags", "options"], read: mount },
    Kind { name: "umount", fields: &[], read: |r, v, _| path(r, v, |target| Action::Umount { target }) },
    Kind { name: "mkdir", fields: &["mode"], read: mkdir },
    Kind { name: "rmdir", fields: &[], read: |r, v, _| path(r, v, |path| Action::Rmdir { path }) },
    Kind { name: "unlink", fields: &[], read: |r, v, _| path(r, v, |path| Action::Unlink { path }) },
];

fn path(reader: &mut Reader<'_>, value: &Node, action: fn(String) -> Action) -> Option<Parts> {
    Parts::value(action(reader.guest_path(value, "a path in the guest")?))
}

fn insmod(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let (module, params) = with_params(reader, value, fields)?;
    Parts::value(Action::Insmod { module, params })
}

fn with_params(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<(String, Params)> {
    let params = match fields.take("params") {
        Some(node) => params(reader, node),
        None => Some(Vec::new()),
    };
    Some((reader.module(value)?, params?))
}

fn reload(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let (module, params) = with_params(reader, value, fields)?;
    Some(Parts { action: Action::Reload { module, params }, results: Results::Unload, names: Vec::new() })
}

fn modprobe(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let remove = match fields.take("remove") {
        Some(node) => reader.choice(node, "`true` or `false`", &[("true", true), ("false", false)]),
        None => Some(false),
    };
    let params = match fields.take("params") {
        Some(node) => params(reader, node),
        None => Some(Vec::new()),
    };
    let (module, params) = (reader.module_or_alias(value)?, params?);
    if remove == Some(true) && !params.is_empty() {
        return reader.error(Diagnostic::new(&value.span, "a module that is removed takes no `params`"));
    }
    let action = Action::Modprobe { module, params, remove: remove? };
    Some(Parts { action, results: Results::Program, names: Vec::new() })
}

fn modinfo(reader: &mut Reader<'_>, value: &Node, _: &mut Fields<'_>) -> Option<Parts> {
    let module = reader.module(value)?;
    Some(Parts { action: Action::Modinfo { module }, results: Results::Program, names: Vec::new() })
}

fn lsmod(reader: &mut Reader<'_>, value: &Node, _: &mut Fields<'_>) -> Option<Parts> {
    match value.text() {
        None | Some("" | "~" | "null") => Parts::data(Action::Lsmod),
        Some(_) => reader.error(
            Diagnostic::new(&value.span, "`lsmod` takes no value: it lists all modules")
                .help("write `lsmod:`, and what to look for into `expect: {data: {contains: ...}}`"),
        ),
    }
}

fn params(reader: &mut Reader<'_>, node: &Node) -> Option<Params> {
    let mut fields = reader.fields(node, "`params`")?;
    let mut params = Vec::new();
    for (name, _, node) in fields.rest() {
        let text = match &node.value {
            // A switch, which is on by being there.
            Value::Null => {
                params.push((name.to_owned(), None));
                continue;
            }
            // An array parameter takes its values with commas.
            Value::List(items) => {
                let items: Option<Vec<String>> =
                    items.iter().map(|item| reader.template(item, "a value")).collect();
                items?.join(",")
            }
            _ => reader.template(node, "a parameter's value")?,
        };
        if text.contains('"') {
            return reader.error(Diagnostic::new(
                &node.span,
                "the kernel takes no double quotes in a module's parameter",
            ));
        }
        params.push((name.to_owned(), Some(text)));
    }
    Some(params)
}

fn rmmod(reader: &mut Reader<'_>, value: &Node, _: &mut Fields<'_>) -> Option<Parts> {
    let action = Action::Rmmod { module: reader.module(value)? };
    Some(Parts { action, results: Results::Unload, names: Vec::new() })
}

fn syscall(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    const DOORS: &[(&str, Door)] = &[("syscall", Door::Syscall64), ("int80", Door::Int80)];
    let door = match fields.take("door") {
        Some(node) => reader.choice(node, "`syscall` or `int80`", DOORS),
        None => Some(Door::Syscall64),
    };
    let nodes = match fields.take("args") {
        Some(node) => reader.items(node, "a list of arguments like `[2, 40]`"),
        None => Some(&[][..]),
    };
    let mut args = Vec::new();
    let mut whole = true;
    for node in nodes.unwrap_or_default() {
        match reader.argument(node) {
            Some(arg) => args.push(arg),
            None => whole = false,
        }
    }
    if let Some(seventh) = nodes.and_then(|nodes| nodes.get(6)) {
        return reader.error(Diagnostic::new(&seventh.span, "a system call takes at most six arguments"));
    }
    let text = reader.text(value, "a system call's name or number")?;
    let call = match parse_int(&text) {
        Some(_) => {
            // Through the other door the number comes in EAX.
            let most = if door == Some(Door::Int80) { u32::MAX.into() } else { u64::MAX.into() };
            CallName::Nr(reader.int(value, "a system call's number", 0, most)? as u64)
        }
        None if door == Some(Door::Int80) => {
            return reader.error(
                Diagnostic::new(&value.span, "through `int80` a system call is named by its number")
                    .help("the table of 32-bit calls counts differently"),
            );
        }
        None => CallName::Name(text, value.span.clone()),
    };
    nodes?;
    let (results, names) = (results(&args), origins(&args));
    let args = args.into_iter().map(|read| read.argument).collect();
    whole.then_some(())?;
    Some(Parts { action: Action::Syscall { call, door: door?, args }, results, names })
}

/// Whether a call brings data depends on its arguments.
fn results(args: &[Read]) -> Results {
    match args.iter().any(|read| read.argument.layout().is_some()) {
        true => Results::Data,
        false => Results::Value,
    }
}

fn mode(reader: &mut Reader<'_>, fields: &mut Fields<'_>, default: u32) -> Option<u32> {
    let Some(node) = fields.take("mode") else { return Some(default) };
    let digits = node.text().unwrap_or_default();
    let digits = digits.strip_prefix("0o").unwrap_or(digits);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 => Some(mode),
        _ => reader.expected(node, "a mode in octal like `0644`"),
    }
}

fn mknod(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let mode = mode(reader, fields, 0o600);
    let path = reader.guest_path(value, "the path of the new node");
    let given: Vec<(&str, &Node)> =
        ["char", "block", "fifo"].into_iter().filter_map(|kind| Some((kind, fields.take(kind)?))).collect();
    let kind = match given[..] {
        [("fifo", node)] => (node.text() == Some("true"))
            .then_some(Special::Fifo)
            .or_else(|| reader.expected(node, "`true`"))?,
        [(kind, node)] => {
            let Value::List(numbers) = &node.value else {
                return reader.expected(node, "major and minor like `[$major, 0]`");
            };
            let [major, minor] = &numbers[..] else {
                return reader.expected(node, "major and minor like `[$major, 0]`");
            };
            // 12 and 20 bits: include/linux/kdev_t.h.
            let major = device_number(reader, major, "a major", (1 << 12) - 1);
            let minor = device_number(reader, minor, "a minor", (1 << 20) - 1);
            if kind == "char" { Special::Char(major?, minor?) } else { Special::Block(major?, minor?) }
        }
        _ => {
            return reader.error(
                Diagnostic::new(&value.span, "`mknod` needs one of `char`, `block`, `fifo`")
                    .help("like `char: [$major, 0]`"),
            );
        }
    };
    Parts::value(Action::Mknod { path: path?, kind, mode: mode? })
}

fn device_number(reader: &mut Reader<'_>, node: &Node, what: &str, high: i128) -> Option<Num> {
    match reader.num(node, what)? {
        Num::Int(_) => reader.int(node, what, 0, high).map(Num::Int),
        name => Some(name),
    }
}

fn open(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    const FLAGS: &[(&str, OFlag)] = &[
        ("read", OFlag::O_RDONLY),
        ("write", OFlag::O_WRONLY),
        ("append", OFlag::O_APPEND),
        ("create", OFlag::O_CREAT),
        ("exclusive", OFlag::O_EXCL),
        ("truncate", OFlag::O_TRUNC),
        ("nonblock", OFlag::O_NONBLOCK),
        ("directory", OFlag::O_DIRECTORY),
        ("sync", OFlag::O_SYNC),
    ];
    let mode = mode(reader, fields, 0o644);
    let path = reader.guest_path(value, "a path in the guest");
    let (mut read, mut write, mut flags) = (false, false, OFlag::O_CLOEXEC);
    if let Some(node) = fields.take("flags") {
        for node in reader.items(node, "a list of flags like `[read, write]`")? {
            let flag = reader.choice(node, "a flag", FLAGS)?;
            read |= node.text() == Some("read");
            write |= flag == OFlag::O_WRONLY;
            flags |= flag;
        }
    }
    if read && write {
        flags = (flags - OFlag::O_WRONLY) | OFlag::O_RDWR;
    }
    Parts::value(Action::Open { path: path?, flags: flags.bits() as u32, mode: mode? })
}

fn fd(reader: &mut Reader<'_>, node: &Node) -> Option<Num> {
    reader.num(node, "a descriptor")
}

fn read(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let fd = fd(reader, value);
    let count = match fields.take("count") {
        Some(node) => reader.size(node, "`count`, the bytes to read,"),
        None => Some(4096),
    };
    Parts::data(Action::Read { fd: fd?, count: count? })
}

fn write(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let fd = fd(reader, value);
    let data = fields.need(reader, "data").and_then(|node| reader.data(node, "what to write"));
    Parts::value(Action::Write { fd: fd?, data: data? })
}

fn lseek(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    // include/uapi/linux/fs.h
    const FROM: &[(&str, u32)] = &[("start", 0), ("current", 1), ("end", 2)];
    let fd = fd(reader, value);
    let offset = match fields.take("offset") {
        Some(node) => reader.num(node, "`offset`, in bytes,"),
        None => Some(Num::Int(0)),
    };
    let whence = match fields.take("from") {
        Some(node) => reader.choice(node, "`start`, `current` or `end`", FROM),
        None => Some(0),
    };
    Parts::value(Action::Lseek { fd: fd?, offset: offset?, whence: whence? })
}

fn ioctl(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let fd = fd(reader, value);
    let request = fields.need(reader, "request").and_then(|node| request::read(reader, node));
    let read = fields.take("arg").map(|node| reader.argument(node));
    let (arg, results, names) = match read {
        None => (Argument::Pointer(Pointer::Null), Results::Value, Vec::new()),
        Some(read) => {
            let read = [read?];
            let (results, names) = (results(&read), origins(&read));
            let [read] = read;
            (read.argument, results, names)
        }
    };
    let action = Action::Ioctl { fd: fd?, request: request?, arg };
    Some(Parts { action, results, names })
}

fn close(reader: &mut Reader<'_>, value: &Node, _: &mut Fields<'_>) -> Option<Parts> {
    Parts::value(Action::Close { fd: fd(reader, value)? })
}

fn file(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let path = reader.guest_path(value, "a path in the guest");
    match (fields.take("write"), fields.take("append")) {
        (None, None) => Parts::data(Action::ReadFile { path: path? }),
        (Some(_), Some(node)) => {
            reader.error(Diagnostic::new(&node.span, "a step writes a file anew or appends to it: not both"))
        }
        (Some(node), None) => {
            let data = contents(reader, node, path.as_deref())?;
            Parts::value(Action::WriteFile { path: path?, data, append: false })
        }
        (None, Some(node)) => {
            let data = contents(reader, node, path.as_deref())?;
            Parts::value(Action::WriteFile { path: path?, data, append: true })
        }
    }
}

/// What a step writes into a file. A line that nobody will read as it is meant is worth a word.
fn contents(reader: &mut Reader<'_>, node: &Node, path: Option<&str>) -> Option<Data> {
    let data = reader.data(node, "what to write")?;
    let text = data.written();
    let lines = || {
        text.split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| byte.is_ascii_whitespace()).next())
    };
    let unread =
        lines().find_map(|word| MODPROBE_IGNORES.into_iter().find(|ignored| word == ignored.as_bytes()));
    if let Some(word) = unread.filter(|_| path.is_some_and(|path| path.starts_with("/etc/modprobe.d/"))) {
        reader.notes.push(format!(
            "busybox's `modprobe` knows no `{word}` (line {}): of /etc/modprobe.d it reads `alias`, `options`, `blacklist` and `include`",
            reader.line(&node.span)
        ));
    }
    Some(data)
}

/// What other programs named `modprobe` know and busybox's does not (modprobe.d(5), modutils/modprobe.c of busybox).
const MODPROBE_IGNORES: [&str; 3] = ["softdep", "install", "remove"];

fn sleep(reader: &mut Reader<'_>, value: &Node, _: &mut Fields<'_>) -> Option<Parts> {
    Parts::value(Action::Sleep { time: reader.duration(value, "`sleep`")? })
}

fn mount(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    const FLAGS: &[(&str, MsFlags)] = &[
        ("read-only", MsFlags::MS_RDONLY),
        ("remount", MsFlags::MS_REMOUNT),
        ("bind", MsFlags::MS_BIND),
        ("nosuid", MsFlags::MS_NOSUID),
        ("nodev", MsFlags::MS_NODEV),
        ("noexec", MsFlags::MS_NOEXEC),
    ];
    let target = reader.guest_path(value, "a folder in the guest");
    let fs = fields.need(reader, "type").and_then(|node| reader.template(node, "a file system's name"));
    let mut text = |name: &str, default: &str| match fields.take(name) {
        Some(node) => reader.template(node, "text"),
        None => Some(default.to_owned()),
    };
    let (source, options) = (text("source", "none"), text("options", ""));
    let mut flags = MsFlags::empty();
    if let Some(node) = fields.take("flags") {
        for node in reader.items(node, "a list of flags")? {
            flags |= reader.choice(node, "a mount flag", FLAGS)?;
        }
    }
    let flags = flags.bits();
    Parts::value(Action::Mount { target: target?, source: source?, fs: fs?, flags, options: options? })
}

fn mkdir(reader: &mut Reader<'_>, value: &Node, fields: &mut Fields<'_>) -> Option<Parts> {
    let mode = mode(reader, fields, 0o755);
    let path = reader.guest_path(value, "the path of the new folder");
    Parts::value(Action::Mkdir { path: path?, mode: mode? })
}
