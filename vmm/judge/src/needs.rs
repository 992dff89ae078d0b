//! The names whose values a step needs before it can be done.

use scenario::model::{Action, Argument, Node, Num};
use scenario::placeholders;

/// All of them, in no order.
pub fn needs(action: &Action) -> Vec<&str> {
    let mut names = Vec::new();
    let mut num = |value| names.extend(name(value));
    let texts: Vec<&str> = match action {
        Action::Insmod { params, .. } | Action::Reload { params, .. } | Action::Modprobe { params, .. } => {
            params.iter().filter_map(|(_, value)| value.as_deref()).collect()
        }
        Action::Syscall { args, .. } => {
            args.iter().filter_map(number).for_each(num);
            args.iter().filter_map(text).collect()
        }
        Action::Ioctl { fd, arg, .. } => {
            [Some(fd), number(arg)].into_iter().flatten().for_each(num);
            text(arg).into_iter().collect()
        }
        Action::Mknod { path, kind, .. } => {
            if let Node::Char(major, minor) | Node::Block(major, minor) = kind {
                [major, minor].into_iter().for_each(num);
            }
            vec![path]
        }
        Action::Read { fd, .. } | Action::Close { fd } | Action::Poll { fd, .. } => {
            num(fd);
            Vec::new()
        }
        Action::Write { fd, data } => {
            num(fd);
            names.extend(data.names());
            Vec::new()
        }
        Action::Lseek { fd, offset, .. } => {
            [fd, offset].into_iter().for_each(num);
            Vec::new()
        }
        Action::Run { argv, env, stdin, .. } => {
            names.extend(stdin.names());
            argv.iter().chain(env).map(String::as_str).collect()
        }
        Action::WriteFile { path, data, .. } => {
            names.extend(data.names());
            vec![path]
        }
        Action::Open { path, .. }
        | Action::ReadFile { path }
        | Action::Mkdir { path, .. }
        | Action::Rmdir { path }
        | Action::Unlink { path } => vec![path],
        Action::Mount { target, source, fs, options, .. } => vec![target, source, fs, options],
        Action::Umount { target } => vec![target],
        Action::Rmmod { .. }
        | Action::Modinfo { .. }
        | Action::Lsmod
        | Action::Look { .. }
        | Action::Sleep { .. } => Vec::new(),
    };
    names.extend(texts.into_iter().flat_map(placeholders));
    names
}

fn name(num: &Num) -> Option<&str> {
    match num {
        Num::Name(name) => Some(name),
        Num::Int(_) => None,
    }
}

fn number(argument: &Argument) -> Option<&Num> {
    match argument {
        Argument::Num(num) | Argument::InNumber(num, _) | Argument::InOutNumber(num, _) => Some(num),
        _ => None,
    }
}

fn text(argument: &Argument) -> Option<&str> {
    match argument {
        Argument::Text(text) => Some(text),
        _ => None,
    }
}
