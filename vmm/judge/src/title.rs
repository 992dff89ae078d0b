//! Steps as one line for a person.

use super::check::{self, Values};
use super::quote::quote;
use base::text::escape;
use scenario::model::{
    Action, Argument, CallName, Data, Layout, Node, Num, Origin, Pointer, Scenario, Step, When,
};
use scenario::poll;

/// Longer command lines are cut here, in characters.
const LINE: usize = 80;

/// What a step does, without its result.
pub fn title(scenario: &Scenario, step: &Step, values: &Values) -> String {
    let titles = Titles { scenario, values };
    let mut title = titles.action(&step.action);
    if step.repeat > 1 {
        title.push_str(&format!(", {} times", step.repeat));
    }
    match &step.name {
        Some(name) => format!("{}: {title}", escape(name)),
        None => title,
    }
}

/// Who runs it, where that is not root.
fn by(action: &Action) -> String {
    action.user().map_or(String::new(), |user| format!(" as user {user}"))
}

struct Titles<'a> {
    scenario: &'a Scenario,
    values: &'a Values,
}

impl Titles<'_> {
    fn action(&self, action: &Action) -> String {
        match action {
            Action::Insmod { module, params } => format!("insmod {module}{}", words(params)),
            Action::Reload { module, params } => format!("insmod and rmmod {module}{}", words(params)),
            Action::Modprobe { module, remove: true, .. } => format!("modprobe -r {module}"),
            Action::Modprobe { module, params, .. } => format!("modprobe {module}{}", words(params)),
            Action::Modinfo { module } => format!("modinfo {module}"),
            Action::Lsmod => "lsmod".into(),
            Action::Look { at, when } => {
                let places: Vec<&str> = at.iter().map(|place| place.name()).collect();
                match when {
                    When::Before => format!("look at {}", places.join(", ")),
                    When::After => format!("as before: {}", places.join(", ")),
                }
            }
            Action::Rmmod { module } => format!("rmmod {module}"),
            Action::Syscall { call, door, args } => {
                let name = match call {
                    CallName::Name(name, _) => escape(name),
                    CallName::Nr(nr) => nr.to_string(),
                };
                // A number that comes back last is told with the result, by its name.
                let number = |arg: &&Argument| matches!(arg, Argument::Out(Layout::Number(_)));
                let shown = args.len() - args.iter().rev().take_while(number).count();
                let args: Vec<String> = args[..shown].iter().map(|arg| self.argument(arg)).collect();
                let door = match door {
                    protocol::Door::Syscall64 => "",
                    protocol::Door::Int80 => " by int80",
                };
                format!("syscall {name}({}){door}", args.join(", "))
            }
            Action::Mknod { path, kind, .. } => {
                let path = escape(path);
                match kind {
                    Node::Char(major, minor) => {
                        format!("mknod {path} c {} {}", self.num(major), self.num(minor))
                    }
                    Node::Block(major, minor) => {
                        format!("mknod {path} b {} {}", self.num(major), self.num(minor))
                    }
                    Node::Fifo => format!("mknod {path} p"),
                }
            }
            Action::Open { path, .. } => format!("open {}", escape(path)),
            Action::Read { fd, .. } => format!("read {}", self.descriptor(fd)),
            Action::Write { fd, data } => format!("write {} {}", self.descriptor(fd), self.data(data)),
            Action::Lseek { fd, offset, whence } => {
                let from = ["", " from the current position", " from the end"];
                let from = from.get(*whence as usize).unwrap_or(&"");
                format!("lseek {} to {}{from}", self.descriptor(fd), self.num(offset))
            }
            Action::Ioctl { fd, request, arg } => {
                let arg = match arg {
                    Argument::Pointer(Pointer::Null) | Argument::Out(Layout::Number(_)) => String::new(),
                    arg => format!(" {}", self.argument(arg)),
                };
                format!("ioctl {} {request:#x}{arg}", self.descriptor(fd))
            }
            Action::Close { fd } => format!("close {}", self.descriptor(fd)),
            Action::Poll { fd, events, .. } => {
                format!("poll {} for {}", self.descriptor(fd), poll::names(*events))
            }
            action @ Action::Run { .. } if action.script().is_some() => {
                let text = String::from_utf8_lossy(&action.script().unwrap_or_default()).into_owned();
                let is_code = |line: &&str| !line.is_empty() && !line.starts_with('#');
                let lines = || text.lines().map(str::trim).filter(is_code);
                let (first, more) = (lines().next().unwrap_or_default(), lines().count().saturating_sub(1));
                let first: String = first.chars().take(LINE).collect();
                let more = if more > 0 { format!(" ... and {more} lines more") } else { String::new() };
                format!("script{}: {}{more}", by(action), escape(&first))
            }
            action @ Action::Run { argv, .. } => {
                let words: Vec<String> = argv.iter().map(|word| escape(word)).collect();
                let line = words.join(" ");
                let (line, more) = match line.char_indices().nth(LINE) {
                    Some((cut, _)) => (&line[..cut], "..."),
                    None => (&line[..], ""),
                };
                format!("run{} {line}{more}", by(action))
            }
            Action::ReadFile { path } => format!("read {}", escape(path)),
            Action::WriteFile { path, data, append } => {
                format!(
                    "{} {} {}",
                    if *append { "append to" } else { "write" },
                    escape(path),
                    self.data(data)
                )
            }
            Action::Sleep { time } => format!("sleep {}", base::text::time(*time)),
            Action::Mount { target, fs, .. } => format!("mount {} type {}", escape(target), escape(fs)),
            Action::Umount { target } => format!("umount {}", escape(target)),
            Action::Mkdir { path, .. } => format!("mkdir {}", escape(path)),
            Action::Rmdir { path } => format!("rmdir {}", escape(path)),
            Action::Unlink { path } => format!("unlink {}", escape(path)),
        }
    }

    /// Data with the values that are known, or as the scenario has it.
    fn data(&self, data: &Data) -> String {
        let known = data.filled(|name| self.values.get(name).copied().ok_or(()));
        quote(&known.unwrap_or_else(|()| data.written()))
    }

    /// A number: as it is, as its name stands for, or its name.
    fn num(&self, num: &Num) -> String {
        match num {
            Num::Int(value) => value.to_string(),
            Num::Name(name) => self.values.get(name).map_or_else(|| format!("${name}"), i128::to_string),
        }
    }

    /// A descriptor by the path that was opened for it.
    fn descriptor(&self, fd: &Num) -> String {
        let opened = |step: &Step| match (&step.action, fd) {
            (Action::Open { path, .. }, Num::Name(name)) => {
                step.binds.iter().any(|bind| bind.name == *name).then(|| escape(path))
            }
            _ => None,
        };
        self.scenario.steps.iter().find_map(opened).unwrap_or_else(|| self.num(fd))
    }

    fn argument(&self, argument: &Argument) -> String {
        match argument {
            Argument::Num(value) | Argument::InNumber(value, _) | Argument::InOutNumber(value, _) => {
                self.num(value)
            }
            Argument::Text(text) => quote(text.as_bytes()),
            Argument::In(bytes) | Argument::InOut(bytes, _) => quote(bytes),
            Argument::Out(layout) => format!("{{out: {}}}", layout.name()),
            Argument::Pointer(Pointer::Null) => "null".into(),
            Argument::Pointer(Pointer::Bad) => "bad pointer".into(),
            Argument::Pointer(Pointer::Kernel) => "kernel pointer".into(),
        }
    }
}

/// A module's parameters, as insmod takes them.
fn words(params: &[(String, Option<String>)]) -> String {
    let value = |value: &String| format!("={}", escape(value));
    params
        .iter()
        .map(|(name, given)| format!(" {}{}", escape(name), given.as_ref().map_or(String::new(), value)))
        .collect()
}

/// The part of a title that says what came back.
pub fn result(step: &Step, value: i64, shown: Option<&[u8]>, values: &Values) -> String {
    let mut text = String::new();
    if let Some(errno) = scenario::errno::Errno::of(value) {
        let users = check::users(step, shown).map_or(String::new(), |users| format!(", in use by {users}"));
        return format!(" = {errno}{users}");
    }
    match (&step.action, shown) {
        (Action::Read { .. }, Some(data)) => text = format!(" = {}", quote(data)),
        (Action::Poll { .. }, Some(data)) => {
            text = poll::came(data).map_or(String::new(), |events| format!(" = {}", poll::names(events)));
        }
        (Action::Lsmod, Some(data)) => text = format!(" = {}", check::lsmod(data)),
        (Action::Syscall { .. } | Action::Lseek { .. } | Action::Ioctl { .. }, _) => {
            text = format!(" = {value}")
        }
        _ => {}
    }
    let named = step.binds.iter().filter(|bind| !matches!(bind.from, Origin::Value));
    for (name, value) in named.filter_map(|bind| values.get_key_value(&bind.name)) {
        text.push_str(&format!(", {name} = {value}"));
    }
    text
}
